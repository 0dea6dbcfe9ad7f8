"""What a meta-learning engine promises, and how the outer loss weighs the inner steps."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from metadip.fitting import MomentumSGD
from metadip.priors import Prior
from metadip.types import InverseProblem, Objective


class OuterLoss(NamedTuple):
    """The outer loss of one task, differentiable in the meta-parameters, and what to log of it.

    Shape:
        ``loss``: scalar. ``step_losses``: (inner_steps + 1,), outer loss after each inner step,
        detached.
    """

    loss: Tensor
    step_losses: Tensor


class Learner(Protocol):
    """Adapts a copy of the prior's weights to one measurement; says how good the result is."""

    def outer_loss(
        self, prior: Prior, optimizer: MomentumSGD, objective: Objective, problem: InverseProblem
    ) -> OuterLoss:
        """Return sum_k w_k ||f_theta_k(z) - x||^2 / n, differentiable in what is learned."""
        ...


class StepWeights:
    """Weigh the outer loss of every inner step: mostly the last, partly the way there.

    Model:
        w_K gains 1 - multi_step_weight; the rest is spread evenly over the steps multi_step_from to
        K.
    Args:
        inner_steps: K, at least 1.
        multi_step_weight: share of the multi-step loss, in [0, 1]; 0 looks at the last step alone.
        multi_step_from: first step that the multi-step loss sees, in [0, K].
    Raises:
        ValueError: an argument outside the range given here.
    References:
        Antoniou et al. (2019), How to Train Your MAML, arXiv:1810.09502, multi-step loss.
    """

    def __init__(self, inner_steps: int, *, multi_step_weight: float, multi_step_from: int) -> None:
        if inner_steps < 1:
            raise ValueError(f"inner_steps must be at least 1, got {inner_steps}")
        if not 0 <= multi_step_weight <= 1:
            raise ValueError(f"multi_step_weight must be in [0, 1], got {multi_step_weight}")
        if not 0 <= multi_step_from <= inner_steps:
            raise ValueError(
                f"multi_step_from must be in [0, {inner_steps}], got {multi_step_from}"
            )
        weights = torch.zeros(inner_steps + 1)
        weights[multi_step_from:] = multi_step_weight / (inner_steps + 1 - multi_step_from)
        weights[-1] += 1 - multi_step_weight
        self.inner_steps, self.weights = inner_steps, weights

    def __call__(self, step_losses: list[Tensor]) -> OuterLoss:
        """Combine the outer losses of steps 0 to K."""
        losses = torch.stack(step_losses)
        return OuterLoss(losses @ self.weights.to(losses), losses.detach())


def mean_square(x_hat: Tensor, problem: InverseProblem) -> Tensor:
    """Return ||x_hat - x||^2 / n against the clean image.

    Raises:
        ValueError: the problem has no ground truth.
    """
    if problem.x is None:
        raise ValueError(f"meta-training needs clean images, problem {problem.name!r} has none")
    return (x_hat - problem.x).square().mean()
