"""The inner loop of the functional engine: forwards, then backwards through its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metadip.fitting import MomentumSGD, fit_step
from metadip.fitting.rules import State, Tensors
from metadip.fitting.step import refreshed
from metadip.fitting.unknowns import FunctionalUnknowns, Unknowns
from metadip.meta.functional_options import FunctionalOptions
from metadip.meta.learners import InnerLoopPlan, draw_of, square_errors
from metadip.priors import INPUTS, Representation
from metadip.types import Estimate, InverseProblem, Named, Objective, Start


class MetaParameters(NamedTuple):
    """What the outer loss of a group of tasks is differentiated with respect to.

    Args:
        prior: the representation.
        optimizer: the inner rule.
        starts: one per task; their weights are the same tensors.
        names: what the rule updates.
        inputs: of all tasks, a row each, by name, with the graph that made them.
        shared: parameters of the representation other than its weights, such as those that
            ``refresh`` uses.
    """

    prior: Representation
    optimizer: MomentumSGD
    starts: Sequence[Start]
    names: tuple[str, ...]
    inputs: Named
    shared: Tensors

    @classmethod
    def of(
        cls, prior: Representation, optimizer: MomentumSGD, starts: Sequence[Start]
    ) -> MetaParameters:
        """Collect the meta-parameters."""
        first = starts[0]
        names, _ = optimizer.bind(first)
        inputs = {name: torch.cat([s.inputs[name] for s in starts]) for name in first.inputs}
        named = prior.named_parameters()
        shared = tuple(p for n, p in named if n not in first.weights and p.requires_grad)
        return cls(prior, optimizer, starts, names, inputs, shared)

    @property
    def tensors(self) -> Tensors:
        """Inputs, weights, shared parameters, and parameters of the rule, in this order."""
        weights = self.starts[0].weights.values()
        return (*self.inputs.values(), *weights, *self.shared, *self.optimizer.parameters())

    @property
    def differentiable(self) -> frozenset[str]:
        """The weights and inputs that learn, inputs with ``INPUTS`` before their name.

        Inputs that are refreshed depend on what learns, wherever they start.
        """
        inputs = {INPUTS + name: tensor for name, tensor in self.inputs.items()}
        learn = {n for n, t in {**self.starts[0].weights, **inputs}.items() if t.requires_grad}
        return frozenset(learn | inputs.keys() if self.prior.refreshes else learn)


class Unrolled(torch.autograd.Function):
    """Outer losses (B, K + 1) of an inner loop as a function of its meta-parameters."""

    @staticmethod
    def forward(ctx: Any, loop: InnerLoop, *tensors: Tensor) -> Tensor:
        """Run the inner loop."""
        ctx.loop = loop
        return loop.run()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        """Go back through the inner loop."""
        loop, ctx.loop = ctx.loop, None  # a second backward would find nothing kept
        return None, *(loop.towards_adapted if loop.reptile else loop.pull_back)(*cotangents)


class _Step(NamedTuple):
    """One inner step: its leaves, and what depends on them where it has a graph."""

    params: Tensors
    rest: Tensors
    inputs: Named
    estimate: Estimate
    grads: Tensors
    errors: Tensor  # the outer loss before the update


class InnerLoop:
    """The inner loop of a group of tasks: forwards, then backwards."""

    def __init__(
        self,
        options: FunctionalOptions,
        plan: InnerLoopPlan,
        meta: MetaParameters,
        fast: Unknowns,
        exact: FunctionalUnknowns,
        objective: Objective,
        problems: list[InverseProblem],
    ) -> None:
        self.plan, self.meta, self.objective, self.problems = plan, meta, objective, problems
        self.optimizer, self.rule = meta.optimizer, tuple(meta.optimizer.parameters())
        self.keep_every = options.keep_every if options.keep_every > 1 else max(plan.steps, 1)
        self.keep_graphs, self.reptile = options.keep_graphs, options.reptile
        self.device = problems[0].y.device.type
        self.fast, self.exact = fast, exact
        self.params = self.start = _detached(exact.params)
        self.inputs: list[Named] = [exact.inputs]  # of each step, where they are refreshed
        self.kept: list[tuple[Tensors, State]] = []  # params and state where a segment begins
        self.states: list[State] = []  # after each step of the segment at hand
        self.graphs: list[_Step] = []
        self.last: Tensor | None = None  # outer losses after the last step, with their graph

    def run(self) -> Tensor:
        """Take all steps; return the outer losses (B, K + 1)."""
        errors, state = [], self.optimizer.init(self.start)
        for begin in range(0, self.plan.steps, self.keep_every):
            self.kept.append((self.params, state))
            errors += self._replay(begin)
            state = self.states[-1]
        last = self._look()
        self.last = last if self.keep_graphs else None
        return torch.stack([*errors, last.detach()], dim=1)

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
            if self.meta.prior.refreshes and len(self.inputs) == k + 1:
                with torch.no_grad():
                    self.inputs.append(self._refreshed(k, step))
        return errors

    def _bind(self, unknowns: Unknowns, k: int, params: Tensors) -> None:
        """Set the unknowns to their values at step ``k``."""
        if self.meta.prior.refreshes:
            unknowns.refresh(self.inputs[k])
        unknowns.load(params)

    def _look(self) -> Tensor:
        """Return the outer losses (B,) of the current params, differentiable."""
        self._bind(self.exact, self.plan.steps, self.params)
        with torch.enable_grad(), torch.autocast(self.device, enabled=False):
            return square_errors(self.exact.generate(self.exact.inputs).x, self.problems)

    def _step(self, k: int, params: Tensors, *, with_graph: bool) -> _Step:
        """Compute what step ``k`` needs before its update."""
        unknowns = self.exact if with_graph else self.fast
        self._bind(unknowns, k, params)
        with torch.enable_grad(), torch.autocast(self.device, enabled=False):
            output = fit_step(
                unknowns,
                self.problems,
                self.objective,
                draw=draw_of(self.problems, k),
                create_graph=with_graph and k >= self.plan.first_order_steps,
                retain_graph=with_graph,
                needs_loss=bool(self.meta.names),
            )
            errors = square_errors(output.estimate.x, self.problems)
        rest = unknowns.rest if with_graph else ()
        return _Step(unknowns.params, rest, unknowns.inputs, output.estimate, output.grads, errors)

    def _refreshed(self, k: int, step: _Step) -> Named:
        """Return the inputs of step ``k + 1``."""
        return refreshed(self.meta.prior, step.inputs, step.estimate, self.problems, k)

    def _recall(self, k: int) -> tuple[_Step, State]:
        """Return step ``k`` with its graph, and the state before it; called from last to first."""
        if not self.states:
            self._replay(k // self.keep_every * self.keep_every)
        after = self.states.pop()
        before = self.states[-1] if self.states else self.kept.pop()[1]
        if self.keep_graphs:
            return self.graphs.pop(), before
        self.params = self.optimizer.revert(self.params, after, k)
        return self._step(k, self.params, with_graph=True), before

    def pull_back(self, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives of the meta-parameters, given those of the outer losses."""
        errors, exact = self._look() if self.last is None else self.last, self.exact
        n, shared = len(self.start), self.meta.shared
        last = n + len(exact.rest)
        found = _pull((errors,), (*exact.params, *exact.rest, *shared), (cotangent[:, -1],))
        of_params, of_rest, of_shared = found[:n], found[n:last], found[last:]
        velocity = tuple(torch.zeros_like(p) for p in self.start)
        rule = tuple(torch.zeros_like(p) for p in self.rule)
        for k in reversed(range(self.plan.steps)):
            step, before = self._recall(k)
            grads, velocity, of_rule = self.optimizer.pull_back(
                _detached(step.grads), before, k, (of_params, velocity)
            )
            outputs, cotangents = step.grads, grads
            if self.plan.weights[k]:
                outputs, cotangents = (*outputs, step.errors), (*cotangents, cotangent[:, k])
            made, of_made, of_rest = self._refresh_of(k, step, of_rest)
            found = _pull(
                (*outputs, *made),
                (*step.params, *step.rest, *shared),
                (*cotangents, *of_made),
            )
            before_it = (*of_params, *of_rest, *of_shared)
            found = torch._foreach_add(before_it, found)
            of_params, of_rest, of_shared = found[:n], found[n:last], found[last:]
            rule = torch._foreach_add(rule, of_rule)
        return self._in_order(of_params, of_rest, of_shared, rule, torch.ones_like(errors))

    def _refresh_of(
        self, k: int, step: _Step, of_rest: Tensors
    ) -> tuple[Tensors, Tensors, Tensors]:
        """Return refreshed inputs with their graph, their derivatives, and those of the rest.

        Refreshed inputs pass their derivatives on to what they are made of.
        """
        if not self.meta.prior.refreshes:
            return (), (), of_rest
        names = [name for name in step.inputs if INPUTS + name not in self.meta.names]
        with torch.enable_grad():
            made = self._refreshed(k, step)
        first = len(of_rest) - len(names)  # the inputs stand last
        zeros = tuple(torch.zeros_like(tensor) for tensor in of_rest[first:])
        return tuple(made[n] for n in names), of_rest[first:], (*of_rest[:first], *zeros)

    def towards_adapted(self, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        """Return the weighted sum of theta_0 - theta_K over tasks, and zero for the rule."""
        difference = tuple(torch._foreach_sub(self.start, self.params))
        rule = tuple(torch.zeros_like(p) for p in self.rule)
        rest = tuple(torch.zeros_like(t) for t in self.exact.rest)
        shared = tuple(torch.zeros_like(p) for p in self.meta.shared)
        return self._in_order(difference, rest, shared, rule, cotangent.sum(dim=1))

    def _in_order(
        self, of_params: Tensors, of_rest: Tensors, shared: Tensors, rule: Tensors, tasks: Tensor
    ) -> tuple[Tensor, ...]:
        """Return the derivatives in the order of ``MetaParameters.tensors``.

        Tasks are weighed by ``tasks`` (B,); those of weights are summed over them.
        """
        first, meta = self.meta.starts[0], self.meta
        every = [*first.weights, *(INPUTS + name for name in first.inputs)]
        others = [name for name in every if name not in meta.names]
        found = dict(zip((*meta.names, *others), (*of_params, *of_rest), strict=True))
        rows = {name: tasks.view(-1, *[1] * (t.ndim - 1)) for name, t in meta.inputs.items()}
        inputs = [found[INPUTS + name] * rows[name] for name in meta.inputs]
        weights = [self._over_tasks(found[name], tasks) for name in first.weights]
        return (*inputs, *weights, *shared, *rule)

    def _over_tasks(self, tensor: Tensor, tasks: Tensor) -> Tensor:
        if self.exact.stacked:
            summed: Tensor = torch.tensordot(tasks, tensor, dims=1)
            return summed
        return tensor * tasks[0]  # of one task, or summed over tasks already


def _pull(outputs: Tensors, inputs: Tensors, cotangents: Tensors) -> Tensors:
    """Return the derivatives of the inputs, zero where nothing depends on them.

    Outputs without a graph, as in first-order steps, count as constants.
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
