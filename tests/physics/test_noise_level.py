from typing import Any

import pytest
import torch
from deepinv.physics import (
    MRI,
    Denoising,
    GammaNoise,
    GaussianNoise,
    Inpainting,
    LaplaceNoise,
    LinearPhysics,
    MultiCoilMRI,
    PoissonGaussianNoise,
    PoissonNoise,
    SaltPepperNoise,
    UniformNoise,
    ZeroNoise,
)
from torch import Tensor

from metadip.physics.noise import CountedAmplitudes, SpeckleNoise
from metadip.physics.noise_level import (
    _of_counted_amplitudes,
    estimated_noise_std,
    expected_noise_energy,
)
from metadip.tasks.coherent_diffraction import DiffractionTask
from metadip.types import InverseProblem, UserError

SHAPE = (3, 64, 64)
NOISES: list[Any] = [
    GaussianNoise(0.2),
    UniformNoise(0.3),
    LaplaceNoise(0.1),
    PoissonNoise(0.05),
    PoissonGaussianNoise(gain=0.05, sigma=0.2),
    SpeckleNoise(0.35),
    CountedAmplitudes(20.0),
    SaltPepperNoise(p=0.1, s=0.2),
    SaltPepperNoise(p=0.35, s=0.35),
]


def picture(seed: int = 0) -> torch.Tensor:
    return torch.rand(1, *SHAPE, generator=torch.Generator().manual_seed(seed))


def measure(physics: Any) -> tuple[InverseProblem, float]:
    """Let deepinv itself add the noise; return the problem and the noise's true energy."""
    x = picture()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        y = physics(x)
    return InverseProblem(y, physics, SHAPE), (y - physics.A(x)).square().sum().item()


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: type(noise).__name__)
@pytest.mark.parametrize("masked", [False, True])
def test_the_energy_is_that_of_the_noise(noise: Any, masked: bool):
    mask = (picture(seed=2)[0] < 0.4).float()
    physics = Inpainting(SHAPE, mask=mask) if masked else Denoising()
    physics.set_noise_model(noise)
    problem, energy = measure(physics)
    expected = expected_noise_energy(problem)
    assert expected == pytest.approx(energy, rel=0.06)  # of 4900 values at least


def test_mri_counts_what_was_measured():
    x = torch.rand(1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    mask = (torch.rand(32, 32, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    physics = MRI(mask=mask, img_size=(2, 32, 32))
    physics.set_noise_model(GaussianNoise(0.1))
    problem = InverseProblem(physics.A(x), physics, (2, 32, 32))
    assert expected_noise_energy(problem) == pytest.approx(0.01 * 2 * mask.sum().item())


class LikeGaussian(GaussianNoise):
    """Noise whose level need not mean what it does in its base class."""


@pytest.mark.parametrize(
    "noise",
    [
        None,
        ZeroNoise(),
        GaussianNoise(0.0),
        GaussianNoise(torch.tensor([0.1, 0.2])),
        PoissonNoise(0.1, normalize=False),
        SpeckleNoise(0.0),
        GammaNoise(),
        LikeGaussian(0.1),
    ],
)
def test_what_cannot_be_told(noise: Any):
    physics = Denoising()
    physics.noise_model = noise
    assert expected_noise_energy(InverseProblem(picture(), physics, SHAPE)) is None


class Masked(LinearPhysics):
    """An operator of a user, with a mask that it may use in any way."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__(noise_model=GaussianNoise(0.1))
        self.register_buffer("mask", mask)

    def A(self, x: Tensor, **_: object) -> Tensor:
        masked: Tensor = self.mask * x
        return masked


def test_other_masks_tell_nothing():
    """Whether the noise lies off the mask as well is the operator's own affair."""
    mask = torch.ones(1, 1, 16, 16)
    mask[..., ::2] = 0
    y = torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    assert expected_noise_energy(InverseProblem(y, Masked(mask), (2, 16, 16))) is None
    whole = InverseProblem(y, Masked(torch.ones_like(mask)), (2, 16, 16))
    assert expected_noise_energy(whole) == pytest.approx(0.01 * 512)


def test_coils_carry_noise_where_the_mask_keeps_k_space():
    mask = torch.ones(1, 1, 16, 16)
    mask[..., ::2] = 0
    physics = MultiCoilMRI(mask=mask, img_size=(2, 16, 16))
    physics.set_noise_model(GaussianNoise(0.1))
    y = physics.A(torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(0)))
    energy = expected_noise_energy(InverseProblem(y, physics, (2, 16, 16)))
    assert energy == pytest.approx(0.01 * y.numel() / 2)


def test_an_operator_without_a_noise_model():
    physics: Any = torch.nn.Identity()
    assert expected_noise_energy(InverseProblem(picture(), physics, SHAPE)) is None


def test_what_a_count_stands_for():
    """Its mean over Poisson counts is the mean square error of their square root."""
    expected = torch.tensor([0.003, 0.03, 0.3, 1.0, 3.0, 10.0, 100.0], dtype=torch.float64)
    counts = torch.arange(400, dtype=torch.float64)[:, None]
    share = (torch.xlogy(counts, expected) - expected - torch.lgamma(counts + 1)).exp()
    errors = (share * (counts.sqrt() - expected.sqrt()).square()).sum(0)
    told = [_of_counted_amplitudes(CountedAmplitudes(1.0), n.sqrt()) for n in counts]
    means = (share * torch.stack(told)[:, None]).sum(0)
    torch.testing.assert_close(means[2:], errors[2:], rtol=0.05, atol=0)
    torch.testing.assert_close(means[:2], errors[:2], rtol=0.25, atol=0)


@pytest.mark.parametrize("beamstop_px", [0, 3])
def test_the_energy_of_counted_amplitudes(beamstop_px: float):
    task = DiffractionTask(
        2.0, photons=1e5, phase="strong", object="crystal", beamstop_px=beamstop_px
    )
    ratios = []
    for seed in range(8):
        problem = task.measure(torch.zeros(1, 1, 48, 48), seed=seed)
        truth: Any = problem.reading
        made = (problem.physics.A(truth.truth) - problem.y).square().sum().item()
        ratios.append(made / (expected_noise_energy(problem) or 0.0))
    assert abs(sum(ratios) / len(ratios) - 1) < 0.08


@pytest.mark.parametrize("std", [0.02, 0.12, 0.26])
def test_the_noise_of_an_image_is_found_in_it_also_when_clipped(std: float):
    ramp = torch.linspace(0.2, 0.9, 95)
    x = torch.stack([ramp.expand(96, 95), ramp.flip(0).expand(96, 95)])[None].repeat(2, 1, 1, 1)
    n = std * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    n[1] *= 0.5
    y = (x + n).clamp(0, 1)
    made = (y - x).square().mean(dim=(1, 2, 3)).sqrt()
    assert std != 0.26 or made[0] < 0.9 * std  # so that this says something about clipping
    torch.testing.assert_close(estimated_noise_std(y), made, rtol=0.05, atol=0)


def test_a_line_of_pixels_has_no_noise_to_be_found():
    with pytest.raises(UserError, match=r"estimated from an image of \(1, 8\) px"):
        estimated_noise_std(torch.zeros(1, 1, 1, 8))
