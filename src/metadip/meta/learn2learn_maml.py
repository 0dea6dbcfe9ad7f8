"""The learn2learn engine: MAML whose inner step has momentum and a step size of its own."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch
from torch import Tensor, nn

from metadip.fitting import MomentumSGD, fit_step
from metadip.fitting.optimizers import State
from metadip.meta.learners import OuterLoss, StepWeights, mean_square
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
    """Meta-learn by backpropagation through all inner steps at once.

    Args:
        inner_steps: K; 20 in MetaDIP.
        multi_step_weight: see ``StepWeights``.
        multi_step_from: see ``StepWeights``.
        first_order: drop second derivatives (FOMAML).
    Raises:
        ValueError: see ``StepWeights``.
    Cost:
        Memory grows with K: about 0.5 GB for K = 20 at 64 px with 0.5 M weights.
    References:
        Zhang et al. (2022), MetaDIP, arXiv:2209.08452, equation 3.
    """

    def __init__(
        self, *, inner_steps: int, multi_step_weight: float, multi_step_from: int, first_order: bool
    ) -> None:
        self.combine = StepWeights(
            inner_steps, multi_step_weight=multi_step_weight, multi_step_from=multi_step_from
        )
        self.first_order = first_order

    def outer_loss(
        self, prior: Prior, optimizer: MomentumSGD, objective: Objective, problem: InverseProblem
    ) -> OuterLoss:
        """See ``Learner.outer_loss``."""
        _, height, width = problem.image_shape
        z = prior.latent(height, width)
        clone = MomentumMAML(
            prior.network, optimizer=optimizer, first_order=self.first_order
        ).clone()
        losses = []
        with torch.enable_grad():
            for _ in range(self.combine.inner_steps):
                step = fit_step(
                    clone,
                    list(clone.parameters()),
                    z,
                    [problem],
                    objective,
                    create_graph=not self.first_order,
                    retain_graph=True,  # the outer loss looks at every x_hat
                )
                losses.append(mean_square(step.x_hat, problem))
                clone.adapt(step.grads)
            losses.append(mean_square(clone(z), problem))
        return self.combine(losses)
