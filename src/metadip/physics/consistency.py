"""Make an image agree with an exact measurement: projection onto {x : A(x) = y}."""

from __future__ import annotations

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from metadip.types import InverseProblem

TOLERANCE = 1e-5  # of ||A(x) - y|| / ||y||; float32 hardly allows less
MAX_STEPS = 200  # of conjugate gradients
ROUNDS = 10  # between the measurement and [0, 1]


def can_agree(problem: InverseProblem) -> bool:
    """Return whether the operator is linear, so that there is a projection."""
    return isinstance(problem.physics, LinearPhysics)


def relative_residual(problem: InverseProblem, x: Tensor) -> float:
    """Return ||A(x) - y|| / ||y||, or ||A(x)|| if y is zero."""
    y = problem.y
    return float(_norm(problem.physics.A(x) - y) / (_norm(y) or 1.0))


@torch.no_grad()
def agreeing(problem: InverseProblem, x: Tensor, *, clip: bool) -> Tensor:
    """Return the image nearest to ``x`` that explains y, for a linear operator without noise.

    Model:
        x + A^T w with A A^T w = y - A x, by conjugate gradients, which come closer to the truth at
        each step: the truth explains y. One step is exact for a mask of zeros and ones, and
        for every A A^T = c I. Of all steps, the one with the smallest residual counts, so that a y
        outside the range of A does no harm.
    Shape:
        (1, C, H, W) -> (1, C, H, W).
    Args:
        problem: its operator is linear, see ``can_agree``.
        x: the image.
        clip: whether it will be clipped to [0, 1], which would undo the agreement: then both are
            projected onto in turn until clipping changes little. The truth lies in both sets, so
            this comes closer to it, too.
    Cost:
        Each step applies A and A^T once.
    References:
        Craig (1955), The N-step Iteration Procedures (conjugate gradients on A A^T).
        Bauschke and Borwein (1996), On Projection Algorithms for Solving Convex Feasibility
        Problems (projections in turn).
    """
    best, least = x, relative_residual(problem, x)
    for _ in range(ROUNDS if clip else 1):
        x = _projected(problem, x)
        shown = x.clamp(0, 1) if clip else x
        residual = relative_residual(problem, shown)
        if residual < least:
            best, least = x, residual
        if least <= TOLERANCE or not residual < torch.inf:
            break
        x = shown
    return best


def _projected(problem: InverseProblem, x: Tensor) -> Tensor:
    """Return the projection of ``x``, by conjugate gradients on A A^T."""
    physics, y = problem.physics, problem.y
    goal = TOLERANCE * float(_norm(y))
    r = y - physics.A(x)
    energy = _norm(r) ** 2
    p = physics.A_adjoint(r)
    best, least = x, energy
    for _ in range(MAX_STEPS):
        length = _norm(p) ** 2
        if energy.sqrt() <= goal or length == 0:
            break
        step = energy / length
        x = x + step * p
        r = r - step * physics.A(p)
        energy, before = _norm(r) ** 2, energy
        if energy < least:
            best, least = x, energy
        p = physics.A_adjoint(r) + energy / before * p
    return best


def _norm(tensor: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(tensor)
    return norm
