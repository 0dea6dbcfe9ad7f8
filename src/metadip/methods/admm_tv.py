"""Total variation for any linear operator, by ADMM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from metadip.methods.iteration import Iterative
from metadip.types import InverseProblem, UserError

CG_STEPS = 10  # of each update of x, which starts from the last one
CG_TOLERANCE = 1e-8  # of the squared residual, relative to the right-hand side


class TotalVariationADMM(Iterative):
    """Find the image of small total variation that explains a linear measurement.

    Model:
        argmin_x 1/2 ||s (A x - y)||^2 + weight sum_pixels |(D x)|, D the differences to the right
        and lower neighbours, each channel on its own. With z = D x and the scaled dual u,
        x <- argmin 1/2 ||s (A x - y)||^2 + rho/2 ||D x - z + u||^2 (conjugate gradients),
        z <- shrink(D x + u, weight / rho), u <- u + D x - z.
    Args:
        weight: of the total variation, above 0.
        penalty: rho, above 0; it changes how fast the iteration converges, not to what.
        iterations: at least 1.
    Raises:
        ValueError: If an argument is out of range.
        UserError: When called, if the operator is not linear or the measurements are complex.
    Cost: at most 10 products with A^T A per iteration.
    References:
        Boyd et al. (2011), Distributed Optimization and Statistical Learning via ADMM, section 6.
    """

    def __init__(self, *, weight: float, penalty: float, iterations: int) -> None:
        if not (weight > 0 and penalty > 0 and iterations >= 1):
            raise ValueError(
                "need weight > 0, penalty > 0 and iterations >= 1, got "
                f"{weight}, {penalty} and {iterations}"
            )
        images = partial(_images, weight=weight, penalty=penalty, iterations=iterations)
        super().__init__(
            None,
            images=lambda problem, _: images(problem),
            steps=iterations,
            check=lambda problem, _, task: _check(problem, task),
            rescale=True,
        )


def _check(problem: InverseProblem, task: str) -> None:
    if not isinstance(problem.physics, LinearPhysics):
        raise UserError(
            f"method=admm_tv serves linear operators, not {task}: use method=metadip or method=dip"
        )
    if problem.y.is_complex():
        raise UserError(
            f"method=admm_tv needs real measurements, and those of {task} are complex: use "
            "method=metadip or method=dip"
        )


def _images(
    problem: InverseProblem, *, weight: float, penalty: float, iterations: int
) -> Iterator[Tensor]:
    """Yield the start A^T y and then x of each iteration."""
    physics, square = problem.physics, problem.scale**2
    back: Tensor = square * physics.A_adjoint(problem.y)
    x, z = back, torch.zeros_like(gradient(back))
    u = torch.zeros_like(z)

    def normal(image: Tensor) -> Tensor:
        fit: Tensor = square * physics.A_adjoint(physics.A(image))
        return fit + penalty * gradient_adjoint(gradient(image))

    yield x
    for _ in range(iterations):
        x = conjugate_gradients(normal, back + penalty * gradient_adjoint(z - u), x)
        slopes = gradient(x) + u
        length = slopes.square().sum(0, keepdim=True).sqrt().clamp(min=1e-12)
        z = slopes * (1 - weight / penalty / length).clamp(min=0)
        u = slopes - z
        yield x


def gradient(x: Tensor) -> Tensor:
    """Return the differences to the lower and right neighbours, (2, B, C, H, W); 0 at the edge."""
    down, right = torch.zeros_like(x), torch.zeros_like(x)
    down[..., :-1, :] = x[..., 1:, :] - x[..., :-1, :]
    right[..., :-1] = x[..., 1:] - x[..., :-1]
    return torch.stack([down, right])


def gradient_adjoint(slopes: Tensor) -> Tensor:
    """Return D^T of (2, B, C, H, W)."""
    x = torch.zeros_like(slopes[0])
    x[..., 1:, :] += slopes[0][..., :-1, :]
    x[..., :-1, :] -= slopes[0][..., :-1, :]
    x[..., 1:] += slopes[1][..., :-1]
    x[..., :-1] -= slopes[1][..., :-1]
    return x


def conjugate_gradients(normal: Callable[[Tensor], Tensor], right: Tensor, x: Tensor) -> Tensor:
    """Return an approximate solution of normal(x) = right, starting at ``x``."""
    residual = right - normal(x)
    direction, energy = residual, residual.square().sum()
    for _ in range(CG_STEPS):
        if energy <= CG_TOLERANCE * right.square().sum():
            break
        image = normal(direction)
        step = energy / (direction * image).sum()
        x, residual = x + step * direction, residual - step * image
        last, energy = energy, residual.square().sum()
        direction = residual + energy / last * direction
    return x
