"""The learn2learn engine: MAML with momentum and a separate step size for each inner step."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metadip.fitting import MomentumSGD, fit_step
from metadip.fitting.rules import State, Tensors
from metadip.fitting.unknowns import Rows
from metadip.meta.learners import (
    InnerLoopPlan,
    InnerLoopSchedule,
    OuterLoss,
    draw_of,
    square_errors,
)
from metadip.priors import INPUTS, Representation
from metadip.types import Estimate, InverseProblem, Named, Objective, Start

with (
    contextlib.redirect_stdout(io.StringIO()),
    contextlib.redirect_stderr(io.StringIO()),
):  # gym's banner
    from learn2learn.algorithms import MAML
    from learn2learn.utils import clone_module, update_module


class MomentumMAML(MAML):
    """Adapt a clone of a representation by momentum SGD with learned step sizes and momentum.

    Model:
        See ``MomentumSGD``; the update is applied through ``learn2learn.utils.update_module``, so
        the clone stays connected to the base module. What the rule does not update stays connected
        too, and so is learned as well.
    Args:
        model: the representation; it must hold no buffers that a forward pass changes, because
            clones would share them.
        optimizer: the inner rule.
        names: what it updates: weights, or inputs with ``inputs.`` before their name.
        size: (H, W) of the images.
        inputs: of the representation, by name.
    References:
        Finn et al. (2017), Model-Agnostic Meta-Learning, arXiv:1703.03400.
    """

    module: Representation

    def __init__(
        self,
        model: Representation,
        *,
        optimizer: MomentumSGD,
        names: Sequence[str],
        size: tuple[int, int],
        inputs: Named,
    ) -> None:
        super().__init__(model, lr=0.0)
        self.inner = [optimizer]  # a list, because its parameters belong to the meta-module
        self.names, self.size, self.inputs = tuple(names), size, dict(inputs)
        for name, tensor in inputs.items():  # what moves needs a gradient, learned or not
            if INPUTS + name in names and not tensor.requires_grad:
                self.inputs[name] = tensor.detach().requires_grad_()
        self.steps_done = 0
        self.state: State = optimizer.init(self.params)

    def clone(self, **kwargs: Any) -> MomentumMAML:
        """Return a clone that starts with zero velocity."""
        return MomentumMAML(
            clone_module(self.module), optimizer=self.inner[0], names=self.names, size=self.size,
            inputs=self.inputs,
        )  # fmt: skip

    @property
    def params(self) -> Tensors:
        """The tensors that the rule updates."""
        weights = self.module.weights
        return tuple(
            self.inputs[name.removeprefix(INPUTS)] if name.startswith(INPUTS) else weights[name]
            for name in self.names
        )

    @property
    def weights(self) -> Named:
        """See ``metadip.fitting.unknowns.Unknowns``."""
        return Rows(self.module.weights)

    def generate(self, inputs: Named) -> Estimate:
        """Generate from the current weights."""
        estimate: Estimate = self.module(self.size, **inputs)
        return estimate

    def adapt(self, grads: Tensors) -> None:
        """Take the next momentum step along ``grads``, one per tensor that the rule updates."""
        params = self.params
        updated, self.state = self.inner[0].update(params, grads, self.state, self.steps_done)
        new = dict(zip(self.names, updated, strict=True))
        before = dict(zip(self.names, params, strict=True))
        differences = [
            new[name] - before[name] if name in new else None
            for name, _ in self.module.named_parameters()
        ]
        self.module = update_module(self.module, updates=differences)
        for name in self.inputs:
            self.inputs[name] = new.get(INPUTS + name, self.inputs[name])
        self.steps_done += 1

    def refresh(self, inputs: Named) -> None:
        """Replace the inputs that the rule does not update."""
        moved = {name: self.inputs[name] for name in self.inputs if INPUTS + name in self.names}
        self.inputs = {**inputs, **moved}


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
        prior: Representation,
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
    prior: Representation,
    optimizer: MomentumSGD,
    objective: Objective,
    problem: InverseProblem,
) -> Tensor:
    """Return the outer losses (K + 1,) of one task."""
    start: Start = prior.start(problem)
    names, _ = optimizer.bind(start)
    size = problem.image_shape[1:]
    clone = MomentumMAML(
        prior, optimizer=optimizer, names=names, size=size, inputs=start.inputs
    ).clone()
    errors = []
    for k in range(plan.steps):
        inputs = dict(clone.inputs)  # before the update, as at test time
        step = fit_step(
            clone,
            [problem],
            objective,
            draw=draw_of([problem], k),
            create_graph=k >= plan.first_order_steps,
            retain_graph=True,  # the outer loss uses every x_hat
        )
        errors.append(square_errors(step.estimate.x, [problem]))
        clone.adapt(step.grads)
        clone.refresh(prior.refresh(inputs, step.estimate, problem, k))
    x_hat = clone.generate(clone.inputs).x
    return torch.cat([*errors, square_errors(x_hat, [problem])])
