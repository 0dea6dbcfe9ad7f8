"""Plug-and-play ADMM: a denoiser in place of a regulariser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from metadip.methods.denoisers import Denoiser, of_one_reconstruction
from metadip.methods.iteration import Iterative
from metadip.physics.operators import Magnitude
from metadip.types import InverseProblem, UserError

SUBGRADIENT_STEPS = 10  # of an update for amplitudes [MetaDIP]
POWER_STEPS, POWER_MARGIN = 30, 1.1  # power iterations come within a few per cent from below
FIRST_STRENGTH = 0.5  # first iteration: about the noise of A^T y in compressive sensing at 0.1

Update = Callable[[Tensor], Tensor]  # from z = v - u to x


class PnPADMM(Iterative):
    """Reconstruct by alternating between a data update and a denoiser.

    Model:
        x <- argmin_x 1/2 ||A(x) - y||^2 + rho/2 ||x - (v - u)||^2
        v <- denoise(x + u, strength_k)
        u <- u + x - v
        ``iterations`` times; v is returned. strength_k falls geometrically from 0.5 to
        ``strength``: a start as far off as A^T y would pass a weak denoiser unchanged. For a linear
        A, the first line is solved in closed form if deepinv has one, else by conjugate gradients,
        and v starts as A^T y. For amplitudes y = |B x|, it is 10 subgradient steps of length
        1 / (||B||^2 + rho) from v - u, which for y >= 0 never raise the objective, and v starts as
        a flat grey image with the energy of y: images are not negative, so it correlates with the
        truth and fixes the sign. The operator is scaled so that E||A x||^2 = ||x||^2; one rho then
        works for many operators.
    Shape:
        ``forward(y, physics)``: y (B, ...) -> (B, C, H, W). Images are independent of one another.
    Args:
        denoiser: one of ``metadip.methods.denoisers``, or deepinv's.
        strength: noise level of the denoiser in the last iteration, in [0, 1] intensity, above 0.
        penalty: rho, above 0.
        iterations: at least 1.
    Raises:
        ValueError: If an argument is out of range.
        UserError: When called, if the operator is neither linear nor the magnitude of a linear one,
            or the measurements are complex; see also the denoiser.
    Cost: ``iterations`` calls of the denoiser per image.
    References:
        Venkatakrishnan et al. (2013), doi:10.1109/GlobalSIP.2013.6737048.
        Zhang et al. (2021), arXiv:2008.13751, section 4.2 (strengths that fall geometrically).
        Zhang et al. (2022), MetaDIP, arXiv:2209.08452 (as a baseline).
    """

    def __init__(
        self, denoiser: Denoiser, *, strength: float, penalty: float, iterations: int
    ) -> None:
        if not (strength > 0 and penalty > 0 and iterations >= 1):
            raise ValueError(
                "need strength > 0, penalty > 0 and iterations >= 1, got "
                f"{strength}, {penalty} and {iterations}"
            )
        images = partial(_images, strength=strength, penalty=penalty, iterations=iterations)
        super().__init__(denoiser, images=images, steps=iterations, check=check_pnp, rescale=True)
        self.strength, self.penalty, self.iterations = strength, penalty, iterations


def check_pnp(problem: InverseProblem, denoiser: Denoiser, task: str) -> None:
    """Raise ``UserError`` unless A is linear or a magnitude, and y real."""
    if not isinstance(problem.physics, LinearPhysics | Magnitude):
        raise UserError(
            "method=pnp_admm serves linear operators and amplitudes (task=cpr), not "
            f"{task}: use method=metadip or method=dip"
        )
    if problem.y.is_complex():
        raise UserError(
            f"method=pnp_admm needs real measurements, and those of {task} are complex: use "
            "method=metadip or method=dip"
        )


def _images(
    problem: InverseProblem, denoiser: Denoiser, *, strength: float, penalty: float, iterations: int
) -> Iterator[Tensor]:
    """Yield the start and then v of each iteration."""
    levels = strengths(strength, iterations)
    return images_from(start_of(problem), problem, denoiser, levels=levels, penalty=penalty)


def images_from(
    v: Tensor,
    problem: InverseProblem,
    denoiser: Denoiser,
    *,
    levels: Sequence[float],
    penalty: float,
) -> Iterator[Tensor]:
    """Yield v as given and then of each iteration, see ``PnPADMM``.

    Args:
        v: where to start, (1, C, H, W).
        problem: to solve.
        denoiser: of the iterations.
        levels: strength of the denoiser in each iteration.
        penalty: rho.
    """
    update, denoise = data_update(problem, penalty=penalty), of_one_reconstruction(denoiser)
    u = torch.zeros_like(v)
    yield v
    for level in levels:
        x = update(v - u)
        v = denoise(x + u, level)
        u = u + x - v
        yield v


def strengths(last: float, count: int, first: float = FIRST_STRENGTH) -> list[float]:
    """Return ``count`` denoiser strengths that fall geometrically from the first to the last.

    Example:
        >>> [round(strength, 3) for strength in strengths(0.05, 3)]
        [0.5, 0.158, 0.05]
    """
    first = max(last, first)
    return [last * (first / last) ** (k / max(count - 1, 1)) for k in reversed(range(count))]


def start_of(problem: InverseProblem) -> Tensor:
    """Return the image that an iteration starts from: A^T y, or a flat one for amplitudes."""
    y, physics = problem.y, problem.physics
    if not isinstance(physics, Magnitude):
        adjoint: Tensor = physics.A_adjoint(y)
        return problem.scale**2 * adjoint
    flat: Tensor = y.new_ones(1, *problem.image_shape)
    gain: Tensor = y.norm() / physics.A(flat).norm()
    return gain * flat


def data_update(problem: InverseProblem, *, penalty: float) -> Update:
    """Return the map from z = v - u to the x that fits the measurement and is close to z."""
    y, physics, weight = problem.y, problem.physics, problem.scale**2
    if not isinstance(physics, Magnitude):

        def solve(z: Tensor) -> Tensor:
            solution: Tensor = physics.prox_l2(z, y, gamma=weight / penalty)
            return solution

        return solve

    step = 1 / (weight * squared_norm(physics.B, start_of(problem)) + penalty)

    def descend(z: Tensor) -> Tensor:
        x = z
        for _ in range(SUBGRADIENT_STEPS):
            misfit = physics.A_vjp(x, physics.A(x) - y)
            x = x - step * (weight * misfit + penalty * (x - z))
        return x

    return descend


def squared_norm(physics: LinearPhysics, like: Tensor) -> float:
    """Return ||A||^2 or slightly more, by power iterations on an image (1, C, H, W)."""
    x = torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like)
    for _ in range(POWER_STEPS):
        x = physics.A_adjoint(physics.A(x / x.norm()))
    return POWER_MARGIN * float(x.norm())
