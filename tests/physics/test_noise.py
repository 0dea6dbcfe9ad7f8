"""Noise of the early-stopping paper: statistics, published PSNRs, seeds, models, refusals."""

import math
from pathlib import Path

import pytest
import torch
from deepinv.physics import GaussianNoise, NoiseModel, PoissonNoise, SaltPepperNoise
from torch import Tensor

from metadip.data import read_image
from metadip.physics import NOISES, SpeckleNoise
from metadip.tasks import DenoisingTask, TaskMixture, load_measurement
from metadip.types import UserError

# Noisy PSNR of kodim12 in dB at low, medium and high, from the files that the paper's authors ship.
PUBLISHED_DB = {
    "gaussian": (18.6, 15.4, 12.7),
    "impulse": (10.5, 8.3, 6.9),
    "shot": (16.7, 14.0, 11.0),
    "speckle": (18.4, 14.0, 12.3),
}
NAMES = ("low", "medium", "high")
NUMBERS = {"gaussian": 0.2, "impulse": 0.4, "shot": 20.0, "speckle": 0.3}
every_noise = pytest.mark.parametrize("noise", NOISES)


def task_of(noise: str, level: str | float | None, *, clip: bool = False) -> DenoisingTask:
    return DenoisingTask(0.1, clip=clip, noise=noise, level=level)


def noisy(noise: str, level: str | float | None, x: Tensor, *, clip: bool = False) -> Tensor:
    return task_of(noise, level, clip=clip).measure(x, seed=3).y


def flat(value: float, size: int = 200) -> Tensor:
    return torch.full((1, 3, size, size), value)


def random_image() -> Tensor:
    return torch.rand((1, 3, 9, 10), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("noise", "level"), [(n, level) for n in NOISES for level in NAMES])
def test_published_psnr(noise: str, level: str, shared_data: Path):
    x = read_image(shared_data / "cset9" / "kodim12.png")[None]
    mse = (noisy(noise, level, x) - x).square().mean().item()
    expected = PUBLISHED_DB[noise][NAMES.index(level)]
    assert -10 * math.log10(mse) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("value", [0.2, 0.7])
@pytest.mark.parametrize("noise", ["gaussian", "shot", "speckle"])
def test_mean_and_variance(noise: str, value: float):
    level = NUMBERS[noise]
    variance = {"gaussian": level**2, "shot": value / level, "speckle": (value * level) ** 2}[noise]
    y = noisy(noise, level, flat(value))
    assert y.mean().item() == pytest.approx(value, abs=4 * (variance / y.numel()) ** 0.5)
    assert y.var().item() == pytest.approx(variance, rel=0.03)  # its own sd is 0.4 to 0.5 percent


def test_shot_noise_counts_photons():
    counts = noisy("shot", 20.0, flat(0.5)) * 20
    torch.testing.assert_close(counts, counts.round(), rtol=0, atol=1e-4)
    for k in (5, 10, 15):
        expected = math.exp(-10) * 10**k / math.factorial(k)
        assert (counts.round() == k).float().mean().item() == pytest.approx(expected, abs=0.003)


def test_impulses():
    y = noisy("impulse", 0.4, flat(0.5))
    assert {round(v, 3) for v in y.unique().tolist()} == {0.0, 0.5, 1.0}
    for value, share in ((0.0, 0.2), (0.5, 0.6), (1.0, 0.2)):
        hits = (y == value).float()
        assert hits.mean().item() == pytest.approx(share, abs=0.006)
    lost = (y != 0.5).float()[0]  # channels on their own: all three are lost with 0.4^3
    assert lost.prod(0).mean().item() == pytest.approx(0.064, abs=0.006)


@every_noise
def test_named_levels_are_clipped_and_8_bit(noise: str):
    x = random_image()
    kind = NOISES[noise]
    for name in NAMES:
        y, raw = noisy(noise, name, x), noisy(noise, kind.levels[name], x)
        torch.testing.assert_close(y * 255, (y * 255).round(), rtol=0, atol=1e-4)
        torch.testing.assert_close(y, raw.clamp(0, 1), rtol=0, atol=0.5 / 255 + 1e-6)
    clipped = noisy(noise, kind.levels["high"], x, clip=True)
    torch.testing.assert_close(clipped, raw.clamp(0, 1))
    assert (raw > 1).any() or noise == "impulse"


@every_noise
def test_the_seed_alone_decides(noise: str):
    x, task = random_image(), task_of(noise, NUMBERS[noise])
    before = torch.get_rng_state()
    first, again, other = (task.measure(x, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(again.y, first.y, rtol=0, atol=0)
    assert not torch.allclose(other.y, first.y)
    double = task.measure(x.double(), seed=3).y
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), first.y)
    mixed = TaskMixture({"a": task, "b": task}, weights={"a": 1.0, "b": 0.0})
    torch.testing.assert_close(mixed.measure(x, seed=3).y, first.y)


@pytest.mark.gpu
@every_noise
def test_the_same_on_a_gpu(noise: str):
    x, task = random_image(), task_of(noise, NUMBERS[noise])
    torch.testing.assert_close(task.measure(x.cuda(), seed=3).y.cpu(), task.measure(x, seed=3).y)


def test_a_gaussian_level_is_a_noise_std():
    x = random_image()
    expected = DenoisingTask(0.2, clip=False).measure(x, seed=3).y
    torch.testing.assert_close(noisy("gaussian", 0.2, x), expected, rtol=0, atol=0)


@every_noise
def test_deepinv_draws_the_same_kind_of_noise(noise: str):
    """The model that the operator carries, run by deepinv, has our mean and variance."""
    value, level = 0.4, NUMBERS[noise]
    model = task_of(noise, level).measure(flat(value, 8), seed=0).physics.noise_model
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = model(flat(value))
    ours = noisy(noise, level, flat(value))
    assert theirs.mean().item() == pytest.approx(ours.mean().item(), abs=0.004)
    assert theirs.std().item() == pytest.approx(ours.std().item(), rel=0.02)


def test_the_operator_carries_the_level(tmp_path: Path):
    def model_of(noise: str, level: str | float) -> NoiseModel:
        return task_of(noise, level).measure(random_image(), seed=0).physics.noise_model

    gaussian, impulse = model_of("gaussian", "high"), model_of("impulse", 0.4)
    shot, speckle = model_of("shot", "low"), model_of("speckle", "medium")
    assert isinstance(gaussian, GaussianNoise)
    assert gaussian.sigma.item() == pytest.approx(0.26)
    assert isinstance(impulse, SaltPepperNoise)
    assert (impulse.p.item(), impulse.s.item()) == pytest.approx((0.2, 0.2))
    assert isinstance(shot, PoissonNoise)
    assert shot.gain.item() == pytest.approx(1 / 25)
    assert isinstance(speckle, SpeckleNoise)
    assert speckle.relative_std.item() == pytest.approx(0.35)
    torch.save({"y": torch.rand(3, 4, 5)}, tmp_path / "y.pt")
    loaded = load_measurement(tmp_path / "y.pt", task_of("shot", 8.0))
    assert loaded.physics.noise_model.gain.item() == pytest.approx(1 / 8)


@pytest.mark.parametrize(
    ("noise", "level", "text"),
    [
        (
            "impulse",
            None,
            r"task\.level=null does not fit task\.noise=impulse: give low, medium, h",
        ),
        ("shot", None, r"high, or the photons counted at intensity 1, above 0$"),
        ("gaussian", "strong", r"task\.level=strong does not fit task\.noise=gaussian: give low"),
        ("gaussian", 25, r"task\.level=25 does not fit"),
        ("impulse", 1.1, r"give low, medium, high, or the fraction of values lost, 0 to 1$"),
        ("shot", 0, r"task\.level=0 does not fit"),
        ("shot", math.inf, r"task\.level=inf does not fit"),
        ("speckle", -0.1, r"task\.level=-0\.1 does not fit"),
        ("speckle", math.nan, r"task\.level=nan does not fit"),
        ("speckle", True, r"task\.level=True does not fit"),
        ("gaussian", [0.1, 0.2], r"task\.level=\[0\.1, 0\.2\] does not fit"),
        ("salt", 0.1, r"task\.noise=salt is unknown; choose from gaussian, impulse, shot, speckle"),
    ],
)
def test_bad_levels(noise: str, level: object, text: str):
    with pytest.raises(UserError, match=text) as caught:
        task_of(noise, level)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_level_that_a_file_tells_wins(tmp_path: Path):
    y = torch.rand(3, 5, 6)
    torch.save({"y": y, "noise_std": 0.05}, tmp_path / "told.pt")
    torch.save({"y": y}, tmp_path / "silent.pt")

    def model(file: str, noise: str) -> NoiseModel:
        task = task_of(noise, "medium")
        found: NoiseModel = load_measurement(tmp_path / file, task).physics.noise_model
        return found

    assert model("told.pt", "gaussian").sigma.item() == pytest.approx(0.05)
    assert model("silent.pt", "gaussian").sigma.item() == pytest.approx(0.18)
    assert model("told.pt", "shot").gain.item() == pytest.approx(1 / 12)
