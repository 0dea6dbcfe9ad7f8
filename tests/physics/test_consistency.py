"""Projection onto what an exact measurement allows, against the closed form."""

from collections.abc import Callable

import pytest
import torch
from deepinv.physics import Blur, Denoising, Inpainting, LinearPhysics, Physics, Tomography

from metadip.physics import MatrixSensing
from metadip.physics.consistency import agreeing, can_agree, relative_residual
from metadip.physics.operators import Magnitude, StructuredSensing
from metadip.types import InverseProblem

SHAPE = (3, 12, 10)
N = 360


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix() -> LinearPhysics:
    return MatrixSensing(draw(90, N, seed=1) - 0.5, image_shape=SHAPE)


def structured() -> LinearPhysics:
    return StructuredSensing(SHAPE, n_measurements=90, seed=0, n_layers=1)


def mask() -> LinearPhysics:
    return Inpainting(SHAPE, mask=(draw(*SHAPE, seed=2) > 0.5).double())


def blur() -> LinearPhysics:
    return Blur(filter=torch.ones(1, 1, 3, 3) / 9, padding="circular").double()


OPERATORS: list[Callable[[], LinearPhysics]] = [matrix, structured, mask, blur, Denoising]


def problem_of(physics: Physics, x: torch.Tensor) -> InverseProblem:
    return InverseProblem(physics.A(x), physics, SHAPE)


@pytest.mark.parametrize("make", OPERATORS)
def test_it_is_the_nearest_image_that_explains_y(make: Callable[[], LinearPhysics]):
    """Against x + A^+ (y - A x) by a dense pseudoinverse."""
    physics, x, x_hat = make(), draw(1, *SHAPE), draw(1, *SHAPE, seed=5)
    problem = problem_of(physics, x)
    found = agreeing(problem, x_hat, clip=False)
    columns = torch.eye(N, dtype=torch.float64).reshape(N, *SHAPE)
    dense = physics.A(columns).flatten(1).T
    correction = torch.linalg.pinv(dense, rtol=1e-9) @ (problem.y - physics.A(x_hat)).flatten()
    assert relative_residual(problem, found) <= 1e-5
    near = 1e-4 if make is not blur else 0.2  # whose smallest singular values need more steps
    assert (found - x_hat - correction.reshape(1, *SHAPE)).norm() <= near * correction.norm()
    assert (found - x).norm() < (x_hat - x).norm()


def test_observed_pixels_stay_in_float32():
    keep = (draw(*SHAPE, seed=2) > 0.5).float()
    x, x_hat = draw(1, *SHAPE).float(), draw(1, *SHAPE, seed=5).float()
    found = agreeing(problem_of(Inpainting(SHAPE, mask=keep), x), x_hat, clip=True)
    torch.testing.assert_close(keep * found, keep * x, rtol=0, atol=1e-7)
    assert torch.equal((1 - keep) * found, (1 - keep) * x_hat)


def test_clipping_does_not_undo_it():
    """Black and white pixels, where the plain projection leaves [0, 1]."""
    x = (draw(1, *SHAPE) > 0.5).double()
    x_hat = (x + 0.6 * (draw(1, *SHAPE, seed=5) - 0.5)).clamp(0, 1)
    problem = problem_of(structured(), x)
    plain = agreeing(problem, x_hat, clip=False)
    both = agreeing(problem, x_hat, clip=True)
    residuals = [relative_residual(problem, image.clamp(0, 1)) for image in (x_hat, plain, both)]
    assert residuals[2] < residuals[1] / 5 < residuals[0] / 5
    errors = [(image.clamp(0, 1) - x).norm() for image in (x_hat, plain, both)]
    assert errors[2] < errors[1] < errors[0]


def test_a_measurement_out_of_range_does_no_harm():
    """Twice as many noisy projections as pixels: no image explains them."""
    physics = Tomography(angles=60, img_width=12, circle=False, normalize=True)
    x = draw(1, 1, 12, 12).float()
    y = physics.A(x)
    noisy = y + 0.1 * y.std() * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    problem = InverseProblem(noisy, physics, (1, 12, 12))
    found = agreeing(problem, x, clip=False)
    assert found.isfinite().all()
    assert relative_residual(problem, found) <= relative_residual(problem, x)


def test_only_linear_operators_have_a_projection():
    x = draw(1, *SHAPE)
    assert can_agree(problem_of(matrix(), x))
    assert not can_agree(problem_of(Magnitude(matrix()), x))
