"""The functional engine: exact meta-gradients by a reverse sweep, one step's graph at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from metadip.fitting import MomentumSGD, fit_step
from metadip.fitting.optimizers import State, Tensors
from metadip.fitting.weights import (
    BoundWeights,
    PureNetwork,
    StackedWeights,
    Weights,
    pure,
    weights_of,
)
from metadip.meta.batch_norm import with_closed_form_norms
from metadip.meta.functional_options import FunctionalOptions
from metadip.meta.learners import InnerLoopPlan, InnerLoopSchedule, OuterLoss, square_errors
from metadip.priors import Prior
from metadip.types import InverseProblem, Objective


class FunctionalMAML:
    """Meta-learn with the memory of one step's graph, whatever the number of inner steps.

    Model:
        The inner loop runs without a graph and keeps the velocity of every step. Going back from
        theta_K, weights are recovered as theta_k = theta_{k+1} + alpha_k v_{k+1}, the step is
        computed again with its graph, and the derivatives of all that comes after it are pulled
        back through it. The result is the gradient of the learn2learn engine, to rounding.
    Args:
        schedule: length and weights of the inner loop.
        options: what to keep, and what else to compute.
    Raises:
        ValueError: Reptile with ``schedule.log_error``.
    Cost:
        Per task, K sets of weights and one step's graph; with s = ``options.keep_every`` above 1,
        2 K / s + s sets.
    References:
        Maclaurin et al. (2015), Gradient-based Hyperparameter Optimization through Reversible
        Learning, arXiv:1502.03492.
    """

    def __init__(self, schedule: InnerLoopSchedule, options: FunctionalOptions) -> None:
        if options.reptile and schedule.log_error:
            raise ValueError("reptile sees no outer loss: set log_error to false")
        self.schedule, self.options = schedule, options

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
        stacked = (
            problems[0].y.device.type == "cuda"
            if self.options.stacked is None
            else self.options.stacked
        )
        together = stacked and len({problem.image_shape for problem in problems}) == 1
        meta = (*prior.network.parameters(), *optimizer.parameters())
        losses = []
        for group in [list(problems)] if together else [[problem] for problem in problems]:
            weights = self._weights(prior.network, group)
            loop = _InnerLoop(self.options, plan, weights, optimizer, objective, group)
            z = torch.cat([prior.latent.of(problem) for problem in group])
            losses.append(_Unrolled.apply(loop, z, *meta))
        return plan.combine(torch.cat(losses))

    def _weights(
        self, network: nn.Module, problems: Sequence[InverseProblem]
    ) -> tuple[Weights, Weights]:
        """Return the weights that steps without a graph use, and those of steps with one."""
        device, stacked = problems[0].y.device.type, len(problems) > 1
        mixed = torch.is_autocast_enabled(device)
        autocast = torch.get_autocast_dtype(device) if mixed else None
        start = {name: p.detach() for name, p in network.named_parameters()}
        starts = [start] * len(problems)

        def bound(function: PureNetwork) -> Weights:
            return StackedWeights(function, starts) if stacked else BoundWeights(function, start)

        # Steps without a graph take the way of a fit, which is the fastest.
        fast = weights_of(network, starts, autocast=autocast)
        if stacked:
            return fast, fast
        changed = with_closed_form_norms(network)
        return fast, bound(pure(changed, stacked=False, autocast=autocast))


class _Unrolled(torch.autograd.Function):
    """Outer losses (B, K + 1) of an inner loop as a function of z, theta_0 and the rule."""

    @staticmethod
    def forward(ctx: Any, loop: _InnerLoop, z: Tensor, *meta: Tensor) -> Tensor:
        ctx.loop = loop
        return loop.run(z)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        loop, ctx.loop = ctx.loop, None  # a second backward would find nothing kept
        return None, *(loop.towards_adapted if loop.reptile else loop.pull_back)(*cotangents)


class _Step(NamedTuple):
    """One inner step: its leaves, and what depends on them where it has a graph."""

    params: Tensors
    grads: Tensors
    errors: Tensor  # the outer loss before the update


class _InnerLoop:
    """The inner loop of a group of tasks: forwards, then backwards."""

    def __init__(
        self,
        options: FunctionalOptions,
        plan: InnerLoopPlan,
        weights: tuple[Weights, Weights],
        optimizer: MomentumSGD,
        objective: Objective,
        problems: list[InverseProblem],
    ) -> None:
        self.plan, self.optimizer, self.objective = plan, optimizer, objective
        self.problems, self.rule = problems, tuple(optimizer.parameters())
        self.keep_every = options.keep_every if options.keep_every > 1 else max(plan.steps, 1)
        self.keep_graphs, self.reptile = options.keep_graphs, options.reptile
        self.device = problems[0].y.device.type
        self.fast, self.weights = weights
        self.params = self.start = tuple(p.detach() for p in self.weights.params)
        self.kept: list[tuple[Tensors, State]] = []  # weights and state where a segment begins
        self.states: list[State] = []  # after each step of the segment at hand
        self.graphs: list[_Step] = []

    def run(self, z: Tensor) -> Tensor:
        """Take all steps; return the outer losses (B, K + 1)."""
        self.z = z.detach().requires_grad_(z.requires_grad)
        errors, state = [], self.optimizer.init(self.start)
        for begin in range(0, self.plan.steps, self.keep_every):
            self.kept.append((self.params, state))
            found = self._replay(begin)
            errors += found
            state = self.states[-1]
        return torch.stack([*errors, self._look().detach()], dim=1)

    def _replay(self, begin: int) -> list[Tensor]:
        """Take the steps of the last segment kept, which begins at step ``begin``."""
        self.params, state = self.kept[-1]
        self.states, errors = [], []
        for k in range(begin, min(begin + self.keep_every, self.plan.steps)):
            step = self._step(k, self.params, with_graph=self.keep_graphs)
            if self.keep_graphs:
                self.graphs.append(step)
            leaves, grads = _detached(step.params), _detached(step.grads)
            self.params, state = self.optimizer.update(leaves, grads, state, k)
            self.states.append(state)
            errors.append(step.errors.detach())
        return errors

    def _look(self) -> Tensor:
        """Return the outer losses (B,) of the weights at hand, differentiable."""
        self.weights.load(self.params)
        with torch.enable_grad(), torch.autocast(self.device, enabled=False):
            return square_errors(self.weights(self.z), self.problems)

    def _step(self, k: int, params: Tensors, *, with_graph: bool) -> _Step:
        """Compute what step ``k`` needs before its update."""
        weights = self.weights if with_graph else self.fast
        weights.load(params)
        with torch.enable_grad(), torch.autocast(self.device, enabled=False):
            output = fit_step(
                weights,
                weights.params,
                weights.arrange(self.z),
                self.problems,
                self.objective,
                create_graph=with_graph and k >= self.plan.first_order_steps,
                retain_graph=with_graph,
            )
            return _Step(weights.params, output.grads, square_errors(output.x_hat, self.problems))

    def _recall(self, k: int) -> tuple[_Step, State]:
        """Return step ``k`` with its graph, and the state before; called from the last step on."""
        if not self.states:
            self._replay(k // self.keep_every * self.keep_every)
        after = self.states.pop()
        before = self.states[-1] if self.states else self.kept.pop()[1]
        if self.keep_graphs:
            return self.graphs.pop(), before
        self.params = self.optimizer.revert(self.params, after, k)
        return self._step(k, self.params, with_graph=True), before

    def pull_back(self, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives of z, theta_0 and the rule, given those of the outer losses."""
        errors = self._look()
        *of_params, of_z = _pull((errors,), (*self.weights.params, self.z), (cotangent[:, -1],))
        velocity = tuple(torch.zeros_like(p) for p in self.start)
        rule = tuple(torch.zeros_like(p) for p in self.rule)
        for k in reversed(range(self.plan.steps)):
            step, before = self._recall(k)
            grads, velocity, of_rule = self.optimizer.pull_back(
                _detached(step.grads), before, k, (tuple(of_params), velocity)
            )
            outputs, cotangents = step.grads, grads
            if self.plan.weights[k]:
                outputs, cotangents = (*outputs, step.errors), (*cotangents, cotangent[:, k])
            found = _pull(outputs, (*step.params, self.z), cotangents)
            *of_params, of_z = torch._foreach_add((*of_params, of_z), found)
            rule = torch._foreach_add(rule, of_rule)
        return of_z, *self._over_tasks(of_params, torch.ones_like(errors)), *rule

    def towards_adapted(self, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        """Return theta_0 - theta_K summed over tasks with their weights, and zero for the rule."""
        difference = torch._foreach_sub(self.start, self.params)
        rule = (torch.zeros_like(p) for p in self.rule)
        return None, *self._over_tasks(difference, cotangent.sum(dim=1)), *rule

    def _over_tasks(self, tensors: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
        """Sum each tensor over the tasks, weighed by ``weights`` (B,)."""
        if len(self.problems) == 1:
            return [t * weights for t in tensors]
        return [torch.tensordot(weights, t, dims=1) for t in tensors]


def _pull(outputs: Tensors, inputs: Tensors, cotangents: Tensors) -> Tensors:
    """Return the derivatives of the inputs, zero where nothing depends on them.

    Outputs without a graph, which first-order steps have, count as constants.
    """
    wanted = [i for i in inputs if i.requires_grad]
    pairs = [pair for pair in zip(outputs, cotangents, strict=True) if pair[0].requires_grad]
    if not pairs:
        return tuple(torch.zeros_like(i) for i in inputs)
    roots, given = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(roots, wanted, given, materialize_grads=True))
    return tuple(next(found) if i.requires_grad else torch.zeros_like(i) for i in inputs)


def _detached(tensors: Tensors) -> Tensors:
    return tuple(t.detach() for t in tensors)
