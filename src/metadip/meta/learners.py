"""The interface of a meta-learning engine, and the plan of its inner loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from metadip.fitting import MomentumSGD
from metadip.priors import Representation
from metadip.seeding import Stream, generator_of
from metadip.types import InverseProblem, Objective


class OuterLoss(NamedTuple):
    """The outer loss of a batch of tasks, differentiable in the meta-parameters, and step errors.

    Shape:
        ``loss``: scalar, the mean over tasks. ``step_errors``: (B, inner_steps + 1), squared error
        of each task after each inner step, detached.
    """

    loss: Tensor
    step_errors: Tensor


class Learner(Protocol):
    """Adapt copies of the prior's weights to measurements, and score the results."""

    def outer_loss(
        self,
        prior: Representation,
        optimizer: MomentumSGD,
        objective: Objective,
        problems: Sequence[InverseProblem],
        *,
        outer_step: int = 0,
    ) -> OuterLoss:
        """Return the mean of sum_k w_k ||f_theta_k(z) - x||^2 / n, differentiable in what learns.

        The schedule can ask for the logarithm of each squared error.

        Raises:
            ValueError: If a problem has no clean image.
        """
        ...


class InnerLoopPlan(NamedTuple):
    """The inner loop at one outer step.

    Args:
        steps: K.
        first_order_steps: number of first steps that treat their gradient as a constant.
        weights: (K + 1,), of the outer loss after each step.
        log_error: whether the outer loss is the logarithm of the squared error.
        log_floor: added to it before.
    """

    steps: int
    first_order_steps: int
    weights: Tensor
    log_error: bool = False
    log_floor: float = 0.0

    def combine(self, square_errors: Tensor) -> OuterLoss:
        """Weight the squared errors (B, K + 1) after steps 0 to K, and average over tasks."""
        losses = square_errors
        if self.log_error:
            losses = (square_errors + self.log_floor).log()
        # Not a matrix product, which autocast would round.
        weighed = losses * self.weights.to(losses)
        return OuterLoss(weighed.sum(dim=1).mean(), square_errors.detach())


@dataclass(frozen=True)
class Curriculum:
    """How the inner loop is simplified, always or early in training.

    Model:
        Truncation: the steps before the last ``truncate_steps`` treat their gradient as a constant,
        as first-order MAML does in all steps. Annealing: the number of steps with second
        derivatives grows linearly from 0 in the first ``anneal_steps`` outer steps. Growth: the
        number of inner steps grows linearly from ``grow_from`` in the first ``grow_steps`` outer
        steps.
    Args:
        truncate_steps: number of last inner steps that keep second derivatives, at least 1; None
            for all.
        anneal_steps: outer steps from first to second order, at least 0.
        grow_from: inner steps at the first outer step, at least 1; None for the full number.
        grow_steps: outer steps until the full number is reached, at least 0.
    Raises:
        ValueError: If an argument is outside the range given here, or only one of ``grow_from`` and
            ``grow_steps`` is given.
    """

    truncate_steps: int | None = None
    anneal_steps: int = 0
    grow_from: int | None = None
    grow_steps: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, value in vars(self).items():
            lowest = 1 if name in ("truncate_steps", "grow_from") else 0
            if value is not None and value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {value}")
        if (self.grow_from is None) != (self.grow_steps == 0):
            raise ValueError(
                f"grow_from and grow_steps go together, got {self.grow_from} and {self.grow_steps}"
            )


class InnerLoopSchedule:
    """How many inner steps there are, how they are weighted, and which keep second derivatives.

    Model:
        Multi-step loss: w_K gains 1 - multi_step_weight; the rest is spread evenly over the steps
        multi_step_from to K.
    Args:
        inner_steps: K; 20 in MetaDIP. 0 adapts nothing: a network whose input is the measurement
            then learns to denoise by ordinary supervised training.
        multi_step_weight: share of the multi-step loss, in [0, 1]; 0 uses the last step only.
        multi_step_from: first step in the multi-step loss, in [0, K].
        log_error: take the logarithm of each squared error, which is the negative PSNR up to a
            factor, so that a smooth or nearly noiseless image counts as much as one with large
            errors.
        log_floor: added to each squared error before its logarithm, at least 0, so that what is
            almost exact counts little; 1e-5 is 50 dB.
        first_order: drop second derivatives in all steps (FOMAML).
        curriculum: how the inner loop is simplified, always or at first.
    Raises:
        ValueError: If an argument is outside the range given here, or ``curriculum.grow_from`` or
            ``truncate_steps`` is above K.
    References:
        Antoniou et al. (2019), How to Train Your MAML, arXiv:1810.09502 (multi-step loss, first
        order at first). Finn et al. (2017), arXiv:1703.03400 (first order).
    """

    def __init__(
        self,
        inner_steps: int,
        *,
        multi_step_weight: float,
        multi_step_from: int,
        first_order: bool,
        curriculum: Curriculum,
        log_error: bool = False,
        log_floor: float = 0.0,
    ) -> None:
        if inner_steps < 0:
            raise ValueError(f"inner_steps must be at least 0, got {inner_steps}")
        if not 0 <= multi_step_weight <= 1:
            raise ValueError(f"multi_step_weight must be in [0, 1], got {multi_step_weight}")
        if not 0 <= multi_step_from <= inner_steps:
            raise ValueError(
                f"multi_step_from must be in [0, {inner_steps}], got {multi_step_from}"
            )
        for name in ("truncate_steps", "grow_from"):
            if (getattr(curriculum, name) or 0) > inner_steps:
                raise ValueError(
                    f"{name} must be at most inner_steps={inner_steps}, "
                    f"got {getattr(curriculum, name)}"
                )
        self.inner_steps, self.first_order, self.curriculum = inner_steps, first_order, curriculum
        self.multi_step_weight, self.multi_step_from = multi_step_weight, multi_step_from
        if log_floor < 0 or (log_floor and not log_error):
            raise ValueError(
                f"log_floor must be at least 0, and goes with log_error, got {log_floor}"
            )
        self.log_error, self.log_floor = log_error, log_floor

    def at(self, outer_step: int) -> InnerLoopPlan:
        """Return the inner loop of an outer step, counted from 0."""
        steps, curriculum = self.inner_steps, self.curriculum
        if curriculum.grow_from is not None:
            steps = _between(curriculum.grow_from, steps, outer_step, curriculum.grow_steps)
        exact = 0 if self.first_order else min(steps, curriculum.truncate_steps or steps)
        exact = _between(0, exact, outer_step, curriculum.anneal_steps)
        first = min(self.multi_step_from, steps)
        weights = torch.zeros(steps + 1)
        weights[first:] = self.multi_step_weight / (steps + 1 - first)
        weights[-1] += 1 - self.multi_step_weight
        return InnerLoopPlan(steps, steps - exact, weights, self.log_error, self.log_floor)


def _between(low: int, high: int, step: int, n_steps: int) -> int:
    """Return the value at ``step`` of ``n_steps`` of linear growth from ``low`` to ``high``."""
    return high if step >= n_steps else low + (high - low) * step // n_steps


def square_errors(x_hat: Tensor, problems: Sequence[InverseProblem]) -> Tensor:
    """Return ||x_hat - x||^2 / n of each reconstruction (B,) against its clean image.

    Raises:
        ValueError: If a problem has no clean image.
    """
    clean = []
    for problem in problems:
        if problem.x is None:
            raise ValueError(f"meta-training needs clean images, problem {problem.name!r} has none")
        clean.append(problem.x)
    return (x_hat - torch.cat(clean)).square().flatten(1).mean(dim=1)


def draw_of(problems: Sequence[InverseProblem], step: int) -> Callable[[Tensor], Tensor]:
    """Return a function that draws the noise of an inner step, each row from its problem's stream.

    A step that is computed twice draws the same twice.
    """
    generators: list[torch.Generator] = []

    def draw(like: Tensor) -> Tensor:
        if not generators:
            generators.extend(generator_of(p.seed, Stream.STEPS, step) for p in problems)
        rows = [torch.randn(like.shape[1:], generator=g, dtype=like.dtype) for g in generators]
        return torch.stack(rows).to(like.device)

    return draw
