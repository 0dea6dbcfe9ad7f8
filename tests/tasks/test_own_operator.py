"""Operators of the user's own code: found, asked, measured with, and refused in one line."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from metadip.methods import image_shape_of
from metadip.tasks import OwnOperator, load_measurement
from metadip.types import InverseProblem, UserError

SHAPE = (3, 6, 5)
MODULE = '''
import torch
from deepinv.physics import Blur, Denoising, GaussianNoise, LinearPhysics, Physics

NUMBER = 3

class Rows(LinearPhysics):
    """Keep every second row, times a gain."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.register_buffer("gain", torch.as_tensor(gain))

    def A(self, x, **_):
        return self.gain * x[..., ::2, :]

class Spectrum(LinearPhysics):
    def A(self, x, **_):
        return torch.fft.fft2(x).flatten(1)

class Numpy(Physics):
    def A(self, x, **_):
        return torch.from_numpy(x.detach().numpy())

class Pair(Physics):
    def A(self, x, **_):
        return [x, x]

class Broken(Physics):
    def A(self, x, **_):
        raise IndexError("no such\\nangle")

def plain():
    return Rows()

def with_gain(content):
    return Rows(content["gain"])

def optional(gain=2.0, *, unused=None):
    return Rows(gain)

def blur():
    return Blur(filter=torch.ones(1, 1, 3, 3) / 9, padding="circular")

SHARED = Denoising(GaussianNoise(0.3))

def shared():
    return SHARED

class Strict(Denoising):
    """Takes batches of images only."""

    def A_adjoint(self, y, **_):
        assert y.ndim == 4
        return super().A_adjoint(y)

class Square(Physics):
    """Tells its size in a way of its own."""

    img_size = 6

    def A(self, x, **_):
        return x.flatten(1)

class Lenient(Denoising):
    """Takes anything, and sees no image in what has another dimension."""

    def A_adjoint(self, y, **_):
        return y if y.ndim == 4 else y.new_zeros(1, 1, 1, 1)

def noisy():
    return Denoising(GaussianNoise(0.3))

def random_rows():
    return Rows(torch.rand(()))

class Grey(LinearPhysics):
    """Measures images of one channel."""

    def A(self, x, **_):
        return x.reshape(len(x), 1, 6, 5)

def number():
    return 5

def failing(content):
    return Rows(content["angles"])

def greedy(content, angles):
    return Rows()
'''


@pytest.fixture(scope="module", autouse=True)
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Stand in a folder with a package of operators."""
    folder = tmp_path_factory.mktemp("laboratory")
    (folder / "lab4711").mkdir()
    (folder / "lab4711" / "operators.py").write_text(MODULE)
    (folder / "lab4711_bad.py").write_text("import a_package_that_is_not_there")
    (folder / "lab4711_worse.py").write_text("1 / 0")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder.parent))  # restores sys.path afterwards
        patch.chdir(folder)
        yield folder


def own(name: str, module: str = "lab4711.operators") -> OwnOperator:
    return OwnOperator(f"{module}:{name}", image_shape_of=image_shape_of)


def load(operator: OwnOperator, path: Path) -> InverseProblem:
    return load_measurement(path, operator)


def scan(folder: Path, y: Tensor, **content: object) -> Path:
    torch.save({"y": y, "image_shape": SHAPE} | content, folder / "scan.pt")
    return folder / "scan.pt"


def image() -> Tensor:
    return torch.rand((1, *SHAPE), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(("name", "gain"), [("plain", 1.0), ("with_gain", 5.0), ("optional", 2.0)])
def test_the_factory_may_ask_for_the_content(name: str, gain: float, batched: bool, tmp_path: Path):
    x = image()
    y = gain * x[..., ::2, :]
    content = {"gain": torch.tensor(5.0), "x": x[0]}
    problem = load(own(name), scan(tmp_path, y if batched else y[0], **content))
    assert problem.image_shape == SHAPE
    assert problem.name == "scan"
    torch.testing.assert_close(problem.y, y)
    torch.testing.assert_close(problem.physics.A(x), y)
    torch.testing.assert_close(problem.x, x)


@pytest.mark.parametrize(("rescale", "scale"), [(True, 5**-0.5), (False, 1.0)])
def test_the_scale_is_set_where_the_problem_is_made(rescale: bool, scale: float, tmp_path: Path):
    """Half of the rows at a gain of sqrt(10): five times the energy."""
    spec = "lab4711.operators:with_gain"
    operator = OwnOperator(spec, image_shape_of=image_shape_of, rescale=rescale)
    y = 10**0.5 * image()[..., ::2, :]
    problem = load(operator, scan(tmp_path, y, gain=torch.tensor(10**0.5)))
    assert problem.scale == pytest.approx(scale, rel=0.08)
    torch.testing.assert_close(problem.y, y)


def test_a_class_is_a_factory_and_a_grey_batch_dimension_is_none(tmp_path: Path):
    y = torch.rand(1, 6, 5)  # one channel, not a batch of one
    path = scan(tmp_path, y, image_shape=(1, 6, 5))
    problem = load(own("Denoising", "deepinv.physics"), path)
    torch.testing.assert_close(problem.y, y[None])


def test_complex_measurements(tmp_path: Path):
    y = torch.fft.fft2(image()).flatten(1)
    torch.testing.assert_close(load(own("Spectrum"), scan(tmp_path, y[0])).y, y)
    with pytest.raises(UserError, match=r"y must be .*, complex \(90,\), got real \(90,\)"):
        load(own("Spectrum"), scan(tmp_path, y[0].real.contiguous()))


def test_the_operator_may_tell_the_shape(tmp_path: Path):
    torch.save({"y": torch.rand(3, 6, 5)}, tmp_path / "scan.pt")
    assert load(own("blur"), tmp_path / "scan.pt").image_shape == SHAPE
    torch.save({"y": torch.rand(90, dtype=torch.cfloat)}, tmp_path / "scan.pt")
    for name in ("Broken", "Square"):
        with pytest.raises(UserError, match=r"scan\.pt: image_shape is missing \(C, H, W\), and p"):
            load(own(name), tmp_path / "scan.pt")


@pytest.mark.parametrize("name", ["Strict", "Lenient"])
def test_a_batch_of_one_is_shown_to_the_operator_as_it_is(name: str, tmp_path: Path):
    torch.save({"y": torch.rand(1, *SHAPE)}, tmp_path / "scan.pt")
    assert load(own(name), tmp_path / "scan.pt").image_shape == SHAPE


def test_an_operator_that_is_asked_wrongly_may_raise_anything(tmp_path: Path):
    torch.save({"y": torch.rand(1, 6, 5)}, tmp_path / "scan.pt")  # one channel, not a batch
    assert load(own("Strict"), tmp_path / "scan.pt").image_shape == (1, 6, 5)


def test_an_image_file_is_measured_too(tmp_path: Path):
    from metadip.report import save_image

    save_image(tmp_path / "blurred.png", image())
    assert load(own("blur"), tmp_path / "blurred.png").image_shape == SHAPE


def test_the_noise_level(tmp_path: Path):
    path = scan(tmp_path, torch.rand(SHAPE))
    assert load(own("noisy"), path).physics.noise_model.sigma.item() == pytest.approx(0.3)
    path = scan(tmp_path, torch.rand(SHAPE), noise_std=0.05)
    assert load(own("noisy"), path).physics.noise_model.sigma.item() == pytest.approx(0.05)


def test_a_shared_operator_keeps_its_own_level(tmp_path: Path):
    operator = own("shared")
    levels = [{"noise_std": 0.05}, {}, {"noise_std": 0.2}]
    problems = [load(operator, scan(tmp_path, torch.rand(SHAPE), **level)) for level in levels]
    found = [problem.physics.noise_model.sigma.item() for problem in problems]
    assert found == pytest.approx([0.05, 0.3, 0.2])


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("lab4711", "physics=lab4711 must be package.module:factory$"),
        ("lab4711.operators:a.b", "must be package.module:factory$"),
        ("lab4711.nothing:f", "no module 'lab4711.nothing' in the current folder or among the in"),
        ("lab4712.operators:f", "no module 'lab4712' in the current folder"),
        ("lab4711_bad:f", "importing it failed: ModuleNotFoundError: No module named 'a_package_"),
        ("lab4711_worse:f", "importing it failed: ZeroDivisionError: division by zero$"),
        ("lab4711.operators:nothing", "module 'lab4711.operators' has no 'nothing'$"),
        ("lab4711.operators:NUMBER", "physics=.*NUMBER is a int, not a function$"),
        (
            "lab4711.operators:greedy",
            "must take nothing or the file's content, it asks for content",
        ),
    ],
)
def test_bad_names(spec: str, text: str):
    with pytest.raises(UserError, match=text) as caught:
        OwnOperator(spec, image_shape_of=image_shape_of)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("number", "number must return a deepinv Physics, got int$"),
        ("failing", "failing failed: KeyError: 'angles'$"),
        ("Broken", r"Broken cannot measure an image \(3, 6, 5\): IndexError: no such angle$"),
        ("Numpy", "Numpy gives no gradient: its A must be of torch functions$"),
        ("Pair", r"Pair must measure \(1, C, H, W\) as one tensor \(1, ...\), got list$"),
        ("plain", r"scan\.pt: y must be what physics=.*plain gives for an image \(3, 6, 5\), real "
         r"\(3, 3, 5\), got real \(3, 4, 5\)$"),
    ],
)  # fmt: skip
def test_bad_operators(name: str, text: str, tmp_path: Path):
    with pytest.raises(UserError, match=text) as caught:
        load(own(name), scan(tmp_path, torch.rand(3, 4, 5)))
    assert "\n" not in str(caught.value)


def test_the_file_never_names_the_operator(tmp_path: Path):
    path = scan(tmp_path, torch.rand(3, 3, 5), physics="lab4711.operators:number", operator="Pair")
    assert load(own("plain"), path).image_shape == SHAPE


def test_simulates_with_its_own_noise():
    x = image()
    first, again, other = (own("noisy").measure(x, seed=seed, name="a") for seed in (3, 3, 4))
    assert (first.name, first.seed, first.image_shape) == ("a", 3, SHAPE)
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.y, other.y)
    assert (first.y - x).std().item() == pytest.approx(0.3, rel=0.2)
    clean = own("plain").measure(x, seed=0)
    torch.testing.assert_close(clean.y, x[..., ::2, :])
    assert clean.scale == pytest.approx(2**0.5, rel=0.1)


def test_a_random_factory_depends_on_the_seed_alone():
    before = torch.get_rng_state()
    gains = [own("random_rows").measure(image(), seed=seed).physics.gain for seed in (1, 1, 2)]
    assert gains[0] == gains[1] != gains[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_simulates_grey_images_where_no_others_are_measured():
    problem = own("Grey").measure(image(), seed=0)
    assert problem.image_shape == (1, 6, 5)
    assert problem.x is not None
    red, green, blue = image()[0, :, 0, 0]
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    assert problem.x[0, 0, 0, 0].item() == pytest.approx(expected.item())
    with pytest.raises(UserError, match=r"cannot measure an image \(3, 9, 5\)"):
        own("Grey").measure(torch.rand(1, 3, 9, 5), seed=0)
