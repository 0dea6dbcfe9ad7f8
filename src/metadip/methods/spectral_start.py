"""The truncated spectral start of phase retrieval."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metadip.physics.operators import Magnitude
from metadip.seeding import Stream, generator_of
from metadip.types import InverseProblem, UserError

ITERATIONS = 50  # of the power method
TRUNCATION = 3.0  # y above this many times their root mean square are left out [Chen and Candes]


def check_spectral(problem: InverseProblem, task: str) -> None:
    """Raise ``UserError`` unless the measurements are magnitudes of linear ones."""
    if not isinstance(problem.physics, Magnitude):
        raise UserError(
            f"method.start=spectral is for phase retrieval (task=cpr), not for {task}: "
            "set method.start=network"
        )


def spectral_start(problem: InverseProblem) -> Tensor:
    """Return an image near the truth from magnitudes y = |A x|, its sign such that its mean is > 0.

    Model:
        The leading eigenvector of A^T diag(w) A, w_i = y_i^2 where y_i <= 3 rms(y) and 0 elsewhere,
        by the power method, with norm ||y||: E||A x||^2 = ||x||^2 at the scale of the problem.
    Shape:
        -> (1, C, H, W).
    References:
        Chen and Candes (2015), Solving Random Quadratic Systems of Equations Is Nearly as Easy as
        Solving Linear Systems, arXiv:1505.05114, section 2.2.
    """
    y, linear = problem.scale * problem.y, problem.physics.B
    rms = y.square().mean().sqrt()
    weight = torch.where(y <= TRUNCATION * rms, y.square(), 0.0)
    generator = generator_of(problem.seed, Stream.LATENT)
    x = torch.rand((1, *problem.image_shape), generator=generator).to(y)
    for _ in range(ITERATIONS):
        x = linear.A_adjoint(weight * linear.A(x))
        x = x / x.norm().clamp(min=1e-12)
    sign = math.copysign(1.0, float(x.sum()))
    start: Tensor = sign * y.norm() * x
    return start
