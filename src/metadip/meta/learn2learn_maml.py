"""The learn2learn engine: MAML whose inner step has momentum and a step size of its own."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metadip.fitting import MomentumSGD, fit_step
from metadip.fitting.optimizers import State
from metadip.meta.learners import InnerLoopPlan, InnerLoopSchedule, OuterLoss, square_errors
from metadip.priors import Prior
from metadip.types import InverseProblem, Objective

with (
    contextlib.redirect_stdout(io.StringIO()),
    contextlib.redirect_stderr(io.StringIO()),
):  # gym's banner
    from learn2learn.algorithms import MAML
    from learn2learn.utils import clone_module, update_module


class MomentumMAML(MAML):
    """Adapt a clone of a network by momentum steps whose sizes and momentum receive gradients too.

    Model:
        See ``MomentumSGD``; the update is applied through ``learn2learn.utils.update_module``, so
        the clone stays connected to the base network.
    Args:
        model: the network; it must hold no buffers that a forward pass changes, clones would share
            them.
        optimizer: the inner rule.
        first_order: treat each gradient as a constant (FOMAML).
    References:
        Finn et al. (2017), Model-Agnostic Meta-Learning, arXiv:1703.03400.
    """

    module: nn.Module

    def __init__(self, model: nn.Module, *, optimizer: MomentumSGD, first_order: bool) -> None:
        super().__init__(model, lr=0.0, first_order=first_order)
        self.inner = [
            optimizer
        ]  # in a list: the rule's parameters belong to the meta-module, not to every clone
        self.steps_done = 0
        self.state: State = optimizer.init(tuple(model.parameters()))

    def clone(self, **kwargs: Any) -> MomentumMAML:
        """Return a clone that starts with zero velocity."""
        first_order = bool(kwargs.get("first_order", self.first_order))
        return MomentumMAML(
            clone_module(self.module), optimizer=self.inner[0], first_order=first_order
        )

    def adapt(self, grads: tuple[Tensor, ...]) -> None:
        """Take the next momentum step along ``grads``, one per weight tensor."""
        params = tuple(self.module.parameters())
        updated, self.state = self.inner[0].update(params, grads, self.state, self.steps_done)
        differences = [new - old for new, old in zip(updated, params, strict=True)]
        self.module = update_module(self.module, updates=differences)
        self.steps_done += 1


class Learn2LearnMAML:
    """Meta-learn by backpropagation through all inner steps at once, task after task.

    Args:
        schedule: length and weights of the inner loop.
    Cost:
        Memory grows with K: about 0.5 GB for K = 20 at 64 px with 0.5 M weights.
    References:
        Zhang et al. (2022), MetaDIP, arXiv:2209.08452, equation 3.
    """

    def __init__(self, schedule: InnerLoopSchedule) -> None:
        self.schedule = schedule

    def outer_loss(
        self,
        prior: Prior,
        optimizer: MomentumSGD,
        objective: Objective,
        problems: Sequence[InverseProblem],
        *,
        outer_step: int = 0,
    ) -> OuterLoss:
        """See ``Learner.outer_loss``."""
        plan = self.schedule.at(outer_step)
        with torch.enable_grad():
            errors = [
                _step_errors(plan, prior, optimizer, objective, problem) for problem in problems
            ]
        return plan.combine(torch.stack(errors))


def _step_errors(
    plan: InnerLoopPlan,
    prior: Prior,
    optimizer: MomentumSGD,
    objective: Objective,
    problem: InverseProblem,
) -> Tensor:
    """Return the outer losses (K + 1,) of one task."""
    z = prior.latent.of(problem)
    clone = MomentumMAML(prior.network, optimizer=optimizer, first_order=False).clone()
    errors = []
    for k in range(plan.steps):
        step = fit_step(
            clone,
            list(clone.parameters()),
            z,
            [problem],
            objective,
            create_graph=k >= plan.first_order_steps,
            retain_graph=True,  # the outer loss looks at every x_hat
        )
        errors.append(square_errors(step.x_hat, [problem]))
        clone.adapt(step.grads)
    return torch.cat([*errors, square_errors(clone(z), [problem])])
