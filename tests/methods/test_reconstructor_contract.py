"""What deepinv asks of a reconstructor, after the pattern of its ``test_restoration_models``.

Batches of two, two odd sizes, 1 to 4 channels, and every operator of its test suite for images.
"""

import copy
import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepinv
import lightning.pytorch as pl
import pytest
import torch
from deepinv.models import Reconstructor
from deepinv.physics import Denoising, Downsampling, GaussianNoise, Inpainting
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import metadip
from metadip.checkpoint import load_prior
from metadip.methods import fit as fit_module
from metadip.physics.splitting import flatten
from metadip.priors import Latent, LatentNetwork, SkipUNet
from tests.tiny import save_tiny_prior

SIZES = [(32, 37), (25, 129)]
QUICK = [
    "denoising",
    "inpainting",
    "fftdeblur",
    "super_resolution_circular",
    "MRI",
    "pansharpen_circular",
]
# The other linear operators of deepinv's tests that measure images: any size, 1 to 3 channels. Left
# out are volumes and videos (3D*, DynamicMRI), powers of two (fast_singlepixel*) and squares (CT)
# alone, complex images, 15 endmembers, fixed sizes (composition2), and libraries not installed.
OTHERS = [
    "CS", "inpainting_clone", "demosaicing", "colorize", "singlepixel", "composition",
    *(f"deblur_{p}" for p in ("valid", "circular", "reflect", "replicate", "constant")),
    *(f"space_deblur_{p}" for p in ("valid", "circular", "reflect", "replicate", "constant")),
    "space_deblur_maskafter_valid", "space_deblur_maskafter_circular", "tiled_space_deblur_valid",
    *(f"super_resolution_{p}" for p in ("valid", "reflect", "replicate", "constant", "matlab")),
    *(f"down_resolution_{p}" for p in ("circular", "reflect", "replicate", "constant")),
    "aliased_super_resolution", "MultiCoilMRI", "aliased_pansharpen",
    *(f"pansharpen_{p}" for p in ("valid", "reflect", "replicate")),
    "structured_random", "cassi-ss", "cassi-sd", "ptychography_linear", "VirtualLinearPhysics",
    "ultrasound_planewave", "ultrasound_planewave_pulse",
]  # fmt: skip
CHANNELS = {
    "demosaicing": (3,), "colorize": (3,), "tiled_space_deblur_valid": (3,),
    "MRI": (2,), "MultiCoilMRI": (2,), "cassi-ss": (2, 3),
    "ptychography_linear": (1,), "ultrasound_planewave": (1,), "ultrasound_planewave_pulse": (1,),
}  # fmt: skip
FIXED_SHAPE = ("pansharpen", "super_resolution_matlab")  # deepinv's factory ignores the size


def cases(operators: list[str], sizes: list[tuple[int, int]]) -> list[Any]:
    return [
        pytest.param(name, (channels, *size), id=f"{name}-{channels}x{size[0]}x{size[1]}")
        for name in operators
        for channels in CHANNELS.get(name, (1, 2, 3))
        for size in sizes
    ]


@pytest.fixture(scope="module", params=["load", "DIP"])
def make(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Reconstructor]:
    """Return copies of ``load`` of a tiny prior for colour images, or of ``DIP`` as small."""
    if request.param == "load":
        path = save_tiny_prior(tmp_path_factory.mktemp("prior") / "tiny.safetensors")
        built: Reconstructor = metadip.load(str(path), steps=3)
        built.optimizer.log_lr.fill_(math.log(0.002))  # nobody has trained it: small steps
    else:
        network = SkipUNet(32, out_channels=3, channels=[8, 8], skip_channels=[4, 4])
        tiny = LatentNetwork(network, Latent(32, size_px=64, n_wavelengths=0))
        built = metadip.DIP(tiny, steps=3)

    def copied(steps: int = 3) -> Reconstructor:
        method = copy.deepcopy(built)
        method.steps = steps
        return method

    return copied


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def misfit(x_hat: Tensor, y: Any, physics: Any) -> Tensor:
    pair = [physics.A(x_hat), y]
    ours, theirs = pair if isinstance(y, Tensor) else map(flatten, pair)
    distance: Tensor = torch.linalg.vector_norm(ours - theirs)
    return distance


def check(make: Callable[..., Reconstructor], name: str, shape: tuple[int, int, int]) -> None:
    operators = pytest.importorskip("deepinv.tests.test_physics")
    physics, found, _, _ = operators.find_operator(name, torch.device("cpu"), imsize=shape)
    shape = found if name.startswith(FIXED_SHAPE) else shape
    x = draw(2, *shape)
    with torch.no_grad():
        y = physics.A(x)
        x_hat = make()(y, physics)
    assert x_hat.shape == x.shape
    assert x_hat.dtype == x.dtype
    assert bool(x_hat.isfinite().all())
    assert not torch.equal(x_hat[0], x_hat[1])
    start = make(steps=0)(y, physics)
    assert misfit(x_hat, y, physics) < misfit(start, y, physics)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "shape"), cases(QUICK, SIZES[:1]))
def test_common_operators(make: Callable[..., Reconstructor], name: str, shape: Any):
    check(make, name, shape)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "shape"), cases(QUICK, SIZES[1:]) + cases(OTHERS, SIZES))
def test_every_operator(make: Callable[..., Reconstructor], name: str, shape: Any):
    check(make, name, shape)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_numbers_of_channels(make: Callable[..., Reconstructor], channels: int):
    y = draw(2, channels, 25, 33)
    x_hat = make()(y, Denoising())
    assert x_hat.shape == y.shape
    with pytest.raises(ValueError, match="images have 1 to 4 channels, asked for 5"):
        make()(draw(1, 5, 16, 16), Denoising())


MODES: dict[str, Any] = {
    "again": torch.enable_grad,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}


@pytest.mark.parametrize("mode", MODES)
def test_calls_repeat_in_every_mode(make: Callable[..., Reconstructor], mode: str):
    y, method, stream = draw(2, 3, 16, 20), make(), torch.get_rng_state()
    first = method(y, Denoising())
    with MODES[mode]():
        assert torch.equal(method.eval()(y, Denoising()), first)
        assert torch.equal(method.train()(y.clone(), Denoising()), first)
    assert torch.equal(torch.get_rng_state(), stream)
    assert not first.requires_grad
    assert not first.is_inference()


def saved(method: Reconstructor) -> Reconstructor:
    file = io.BytesIO()
    torch.save(method, file)
    file.seek(0)
    copied: Reconstructor = torch.load(file, weights_only=False)
    return copied


COPIES: dict[str, Callable[[Reconstructor], Reconstructor]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda method: pickle.loads(pickle.dumps(method)),
    "torch.save": saved,
    "to": lambda method: method.to("cpu"),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_give_the_same(make: Callable[..., Reconstructor], how: str):
    y, method = draw(1, 3, 16, 16), make()
    before = method(y, Denoising())
    twin = COPIES[how](method)
    assert isinstance(twin, Reconstructor)
    assert torch.equal(twin(y, Denoising()), before)
    assert torch.equal(method(y, Denoising()), before)


def test_double_precision(make: Callable[..., Reconstructor]):
    y = draw(1, 3, 16, 16).double()
    assert make().double()(y, Denoising()).dtype == torch.float64


def test_inside_deepinvs_own_test(make: Callable[..., Reconstructor]):
    x = draw(4, 3, 16, 16)
    physics = Denoising(GaussianNoise(0.1))
    y = physics.A(x) + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    loader: Any = DataLoader(TensorDataset(x, y), batch_size=2)
    method = make()
    expected = torch.cat([method(y[i : i + 2], physics) for i in (0, 2)])
    scores = deepinv.test(
        method, loader, physics, device="cpu", verbose=False, show_progress_bar=False
    )
    psnr = deepinv.metric.PSNR()(expected, x).mean().item()
    assert scores["PSNR"] == pytest.approx(psnr, abs=1e-4)


class Module(pl.LightningModule):
    """A user's module that reconstructs in validation and prediction."""

    def __init__(self, method: Reconstructor) -> None:
        super().__init__()
        self.method, self.seen = method, []  # type: ignore[var-annotated]

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.seen.append(self.method(batch, Denoising()))

    def predict_step(self, batch: Tensor, batch_idx: int) -> Any:
        physics = Inpainting(batch.shape[1:], mask=torch.ones_like(batch[:1]))
        return self.method(physics.A(batch), physics)


def test_inside_a_lightning_module(make: Callable[..., Reconstructor]):
    y, method = draw(2, 3, 16, 16), make()
    expected = method(y, Denoising())
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    module = Module(method)
    loader: Any = DataLoader(y, batch_size=2)  # type: ignore[arg-type]
    trainer.validate(module, loader, verbose=False)
    assert torch.equal(module.seen[0], expected)
    predicted: Any = trainer.predict(module, loader)
    # another operator's gradient: some processors round a sum of it otherwise
    torch.testing.assert_close(predicted[0], expected)


@pytest.mark.gpu
def test_moved_to_a_gpu(make: Callable[..., Reconstructor]):
    x = draw(2, 3, 32, 37)
    for build in (
        Denoising,
        lambda: Inpainting((3, 32, 37), mask=(draw(2, 3, 32, 37, seed=1) > 0.5).float()),
        lambda: Downsampling(img_size=(3, 32, 37), factor=2, filter="bilinear"),
    ):
        physics = build()
        y = physics.A(x)
        start = make(steps=0)(y, physics)
        y, physics = y.cuda(), physics.to("cuda")
        # The start is the same; the noise of later steps comes from a stream of the device.
        begun, ended = (make(steps=steps).to("cuda")(y, physics) for steps in (0, 3))
        assert ended.device.type == "cuda"
        torch.testing.assert_close(begun.cpu(), start, rtol=1e-2, atol=2e-3)
        assert misfit(ended, y, physics) < misfit(begun, y, physics)


def test_images_larger_than_the_learned_ones_are_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    prior = load_prior(save_tiny_prior(tmp_path / "tiny.safetensors")).prior
    assert prior.learned_px == 64  # of the latent's noise, where a file says nothing else
    method = metadip.load(str(tmp_path / "tiny.safetensors"), steps=0)
    method.prior.learned_px = 12
    fit_module._tell_of_larger_images.cache_clear()
    for side in (12, 18, 19, 40):
        method(draw(1, 3, 8, side), Denoising())
    (record,) = caplog.records
    assert "images of more than 18 px lose quality" in record.getMessage()
    assert "better for them may be ckpt=photo, method=bm3d or method=tv" in record.getMessage()


@pytest.mark.parametrize(
    ("beyond", "adam_lr", "advised"),
    [("adam", None, True), ("adam", 1e-3, False), ("hold", None, False)],
)
def test_larger_steps_are_advised_where_they_can_be_taken(
    beyond: str,
    adam_lr: float | None,
    advised: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):
    path = save_tiny_prior(tmp_path / "tiny.safetensors")
    method = metadip.load(str(path), steps=0, beyond=beyond, adam_lr=adam_lr)
    fit_module._tell_of_larger_images.cache_clear()
    method(draw(1, 3, 8, 97), Denoising())
    (record,) = caplog.records
    assert ("try method.adam_lr=0.001 fit.steps=100" in record.getMessage()) is advised
