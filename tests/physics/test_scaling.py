"""The scale of operators whose scale is known, and what it does to a fit."""

from typing import Any

import pytest
import torch
from deepinv.physics import (
    Blur,
    Denoising,
    Downsampling,
    Inpainting,
    LinearPhysics,
    PhaseRetrieval,
)
from deepinv.physics.functional import gaussian_blur
from torch import Tensor

from metadip.fitting import MomentumSGD
from metadip.physics import GaussianSensing, Magnitude, MatrixSensing
from metadip.physics.scaling import TOLERANCE, operator_scale, rescaled
from metadip.physics.splitting import split
from metadip.tasks import CompressiveSensingTask, InpaintingTask, PhaseRetrievalTask
from metadip.types import Task
from tests.fitting.tiny import tiny_prior
from tests.methods.tiny_prediction import tiny_method

SHAPE = (3, 32, 32)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scale_of(physics: Any, shape: tuple[int, int, int] = SHAPE) -> float:
    return operator_scale(physics, shape, like=torch.zeros(1))


def matrix(scale: float) -> MatrixSensing:
    rows = torch.randn(600, 3 * 32 * 32, generator=generator(0)) / 600**0.5
    return MatrixSensing(scale * rows, image_shape=SHAPE)


KNOWN: dict[str, tuple[Any, float]] = {
    "identity": (Denoising, 1),
    "mask": (lambda: Inpainting(SHAPE, mask=0.25, pixelwise=True, rng=generator(0)), 2),
    "every second pixel": (
        lambda: Downsampling(img_size=SHAPE, factor=2, filter="bilinear", padding="circular"),
        2,
    ),
    "a blur keeps smooth images": (
        lambda: Blur(gaussian_blur(sigma=(1.0, 1.0)), padding="circular"),
        1,
    ),
    "matrix": (lambda: matrix(0.2), 5),
    "amplitudes": (lambda: Magnitude(matrix(0.2)), 5),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_scales(name: str):
    make, expected = KNOWN[name]
    assert scale_of(make()) == pytest.approx(expected, rel=0.08)


def test_an_operator_that_sees_edges_is_judged_by_white_images():
    """I - blur takes little of smooth images; their scale would be 1000 times too large."""
    blur = Blur(gaussian_blur(sigma=(1.0, 1.0)), padding="circular")
    edges = LinearPhysics(A=lambda x: x - blur.A(x), A_adjoint=lambda y: y - blur.A_adjoint(y))
    assert 1 <= scale_of(edges) < 1.3


def test_what_is_not_homogeneous_is_let_be():
    linear = matrix(0.2)
    assert scale_of(PhaseRetrieval(linear)) == 1  # intensities


TASKS: dict[str, Task] = {
    "cs": CompressiveSensingTask(0.1, noise_std=0.0, operator="gaussian", max_bytes=10**9),
    "structured": CompressiveSensingTask(
        0.1, noise_std=0.0, operator="structured", max_bytes=10**7
    ),
    "cpr": PhaseRetrievalTask(1.0, noise_std=0.0, operator="structured", max_bytes=10**7),
    "inpaint": InpaintingTask(0.5, noise_std=0.0, per_channel=False),
}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("seed", range(3))
def test_the_tasks_of_this_package_are_at_scale(name: str, seed: int):
    problem = TASKS[name].measure(torch.rand(1, *SHAPE, generator=generator(0)), seed=seed)
    energy = (problem.scale / scale_of(problem.physics)) ** 2
    assert energy == pytest.approx(1, rel=TOLERANCE)
    assert name == "inpaint" or problem.scale == scale_of(problem.physics) == 1


@pytest.mark.parametrize("seed", range(4))
def test_probes_are_not_what_an_operator_of_a_common_seed_was_drawn_from(seed: int):
    operator = GaussianSensing(SHAPE, n_measurements=300, seed=seed, max_bytes=10**9)
    assert scale_of(operator) == pytest.approx(1, abs=0.1)


class Scaled(Inpainting):
    """The same mask times a factor."""

    def __init__(self, factor: float) -> None:
        mask = (torch.rand(SHAPE, generator=generator(3)) > 0.5).float()
        super().__init__(SHAPE, mask=factor * mask)


def learned_method(**options: Any) -> Any:
    rule = MomentumSGD(lr=0.05, momentum=0.5, n_steps=1)
    return tiny_method(prior=tiny_prior(), optimizer=rule, steps=6, **options)


def test_the_unit_of_a_measurement_does_not_matter_once_rescaled():
    x = torch.rand(2, *SHAPE, generator=generator(1))
    images: dict[tuple[bool, float], Tensor] = {}
    for rescale in (False, True):
        method = learned_method(rescale=rescale)
        for factor in (1.0, 0.1):
            images[rescale, factor] = method(Scaled(factor).A(x), Scaled(factor))
    torch.testing.assert_close(images[True, 1.0], images[True, 0.1], rtol=1e-4, atol=1e-5)
    assert (images[False, 1.0] - images[False, 0.1]).abs().max() > 1e-3


def test_denoising_is_the_same_bit_for_bit():
    y = torch.rand(2, *SHAPE, generator=generator(1))
    plain, rescaling = (learned_method(rescale=rescale)(y, Denoising()) for rescale in (0, 1))
    assert torch.equal(plain, rescaling)


def test_masks_of_a_batch_have_scales_of_their_own():
    kept = torch.tensor([0.2, 0.8])[:, None, None, None]
    mask = (torch.rand(2, *SHAPE, generator=generator(0)) < kept).float()
    physics = Inpainting(SHAPE, mask=mask)
    problems = rescaled(split(physics.A(torch.rand(2, *SHAPE)), physics))
    assert [p.scale for p in problems] == pytest.approx([0.2**-0.5, 0.8**-0.5], rel=0.05)
