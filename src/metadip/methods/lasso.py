"""Few coefficients of the cosine or Haar basis that explain a linear measurement: the Lasso."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from metadip.methods.iteration import Iterative
from metadip.types import InverseProblem, UserError

POWER_ITERATIONS = 30  # for the largest eigenvalue of A^T A
MARGIN = 1.05  # by which the estimate of it is enlarged: the power method comes from below
Transform = Callable[[Tensor], Tensor]


class Lasso(Iterative):
    """Find the image of few basis coefficients that explains a linear measurement.

    Model:
        argmin_c ||s (A Psi c - y)||^2 / (2 M) + alpha ||c||_1, x_hat = Psi c, Psi orthonormal, each
        channel on its own, by accelerated proximal gradients (FISTA). alpha falls to its value
        geometrically over the first half of the iterations, from where c begins to leave 0: for
        small alpha the iteration from 0 alone would take very long.
    Args:
        basis: "dct", or "haar", wavelets on as many levels as the sides can be halved.
        alpha: above 0; 1e-6 in the notebook of Net-PGD's authors.
        iterations: at least 2.
    Raises:
        UserError: If ``basis`` is unknown; when called, if the operator is not linear, the
            measurements are complex, or a side is odd and the basis Haar.
        ValueError: If a number is out of range.
    References:
        Beck and Teboulle (2009), A Fast Iterative Shrinkage-Thresholding Algorithm for Linear
        Inverse Problems, doi:10.1137/080716542.
    """

    def __init__(self, *, basis: str, alpha: float, iterations: int) -> None:
        if basis not in BASES:
            raise UserError(f"method.basis={basis} is unknown; choose from {', '.join(BASES)}")
        if not alpha > 0 or iterations < 2:
            raise ValueError(f"need alpha > 0 and iterations >= 2, got {alpha} and {iterations}")
        images = partial(_images, basis=basis, alpha=alpha, iterations=iterations)
        super().__init__(
            None,
            images=lambda problem, _: images(problem),
            steps=iterations,
            check=lambda problem, _, task: _check(problem, task, basis),
            rescale=True,
        )


def _check(problem: InverseProblem, task: str, basis: str) -> None:
    if not isinstance(problem.physics, LinearPhysics):
        raise UserError(
            f"method=lasso serves linear operators, not {task}: use method=net_pgd or method=dip"
        )
    if problem.y.is_complex():
        raise UserError(
            f"method=lasso needs real measurements, and those of {task} are complex: use method=dip"
        )
    height, width = problem.image_shape[1:]
    if basis == "haar" and (height % 2 or width % 2):
        raise UserError(
            f"method.basis=haar needs even sides, got {height}x{width}: set method.basis=dct"
        )


def _images(
    problem: InverseProblem, *, basis: str, alpha: float, iterations: int
) -> Iterator[Tensor]:
    """Yield 0, and the image of each iteration."""
    analyse, synthesise = BASES[basis]
    physics, square = problem.physics, problem.scale**2
    shape = (1, *problem.image_shape)
    back: Tensor = square * physics.A_adjoint(problem.y)

    def normal(x: Tensor) -> Tensor:
        image: Tensor = square * physics.A_adjoint(physics.A(x))
        return image

    step = 1 / _largest(normal, back)
    n_measurements = problem.y.numel()
    highest = float(analyse(back).abs().max()) / n_measurements
    ratio = min(1.0, alpha / max(highest, alpha))
    c = ahead = torch.zeros(shape).to(back)
    momentum = 1.0
    yield synthesise(c)
    for k in range(iterations):
        weight = highest * ratio ** min(1.0, 2 * (k + 1) / iterations) if ratio < 1 else alpha
        moved = ahead - step * analyse(normal(synthesise(ahead)) - back)
        shrunk = _shrink(moved, step * weight * n_measurements)
        after = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = shrunk + (momentum - 1) / after * (shrunk - c)
        c, momentum = shrunk, after
        yield synthesise(c)


def _shrink(c: Tensor, threshold: float) -> Tensor:
    return c.sign() * (c.abs() - threshold).clamp(min=0)


def _largest(normal: Transform, like: Tensor) -> float:
    """Return a bound on the largest eigenvalue of a symmetric operator."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(like.shape, generator=generator).to(like)
    size = 1.0
    for _ in range(POWER_ITERATIONS):
        x = normal(x / x.norm().clamp(min=1e-12))
        size = float(x.norm())
    return max(MARGIN * size, 1e-12)


def dct(x: Tensor) -> Tensor:
    """Return the orthonormal cosine transform of the rows and columns of (B, C, H, W)."""
    rows, columns = (_cosines(side, x.dtype, x.device) for side in x.shape[-2:])
    return rows @ x @ columns.T


def inverse_dct(c: Tensor) -> Tensor:
    """Return the inverse of ``dct``."""
    rows, columns = (_cosines(side, c.dtype, c.device) for side in c.shape[-2:])
    return rows.T @ c @ columns


@lru_cache(maxsize=8)
def _cosines(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the orthonormal cosine matrix of type 2."""
    k = torch.arange(n, dtype=torch.float64)
    matrix = math.sqrt(2 / n) * torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / (2 * n))
    matrix[0] /= math.sqrt(2)
    return matrix.to(device, dtype)


def haar(x: Tensor) -> Tensor:
    """Return the orthonormal Haar transform of (B, C, H, W), on as many levels as sides halve."""
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        return x
    a, b, c, d = (x[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
    low = haar((a + b + c + d) / 2)
    top = torch.cat([low, (a - b + c - d) / 2], dim=-1)
    bottom = torch.cat([(a + b - c - d) / 2, (a - b - c + d) / 2], dim=-1)
    return torch.cat([top, bottom], dim=-2)


def inverse_haar(c: Tensor) -> Tensor:
    """Return the inverse of ``haar``."""
    height, width = c.shape[-2:]
    if height % 2 or width % 2:
        return c
    top, bottom = c.chunk(2, dim=-2)
    (low, h), (v, d) = top.chunk(2, dim=-1), bottom.chunk(2, dim=-1)
    low = inverse_haar(low)
    x = torch.empty_like(c)
    x[..., ::2, ::2], x[..., ::2, 1::2] = (low + h + v + d) / 2, (low - h + v - d) / 2
    x[..., 1::2, ::2], x[..., 1::2, 1::2] = (low + h - v - d) / 2, (low - h - v + d) / 2
    return x


BASES: dict[str, tuple[Transform, Transform]] = {
    "dct": (dct, inverse_dct), "haar": (haar, inverse_haar),
}  # fmt: skip
