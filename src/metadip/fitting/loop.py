"""Fit N images to their measurements: many steps, each image on its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch

from metadip.fitting.backtracking import Safeguard
from metadip.fitting.execution import Execution
from metadip.fitting.memory import Recipe, fit_in_chunks
from metadip.fitting.optimizers import Optimizer, State, Tensors
from metadip.fitting.step import StepOutput, fit_step
from metadip.fitting.weights import weights_of
from metadip.priors import Prior
from metadip.types import FitResult, FitState, InverseProblem, Objective


class Hook(Protocol):
    """What the loop calls; see ``metadip.callbacks.FitCallback``."""

    def on_reconstruction_start(self, state: FitState) -> None:
        """Run before the first step."""
        ...

    def on_step_start(self, state: FitState) -> None:
        """Run before the network."""
        ...

    def on_step_end(self, state: FitState) -> None:
        """Run before the update."""
        ...

    def on_reconstruction_end(self, state: FitState) -> None:
        """Run after the last step."""
        ...


def fit(
    problems: Sequence[InverseProblem],
    prior: Prior,
    objective: Objective,
    optimizer: Optimizer,
    *,
    steps: int,
    hooks: Sequence[Any] = (),
    execution: Execution | None = None,
) -> list[FitResult]:
    """Fit one set of weights to every problem and return the reconstructions in order.

    Model:
        theta <- update(theta, grad L(A f_theta(z), y)), ``steps`` times; then one more look, so
        that the result after k updates is f_theta_k(z). Every image has its own weights, optimiser
        state, random stream (from its seed) and stopping time: its result does not depend on its
        neighbours. Works under ``no_grad`` and ``inference_mode``.
    Args:
        problems: any number of problems, on one device.
        prior: where each fit starts; on the same device. An image with another number of channels
            than the prior makes starts from ``prior.with_channels``.
        objective: what is minimised.
        optimizer: the update rule.
        steps: weight updates, at least 0.
        hooks: called in order; see ``metadip.callbacks``.
        execution: how many images are fitted together, in which precision, and what happens to one
            that diverges; None: ``Execution()``.
    Raises:
        ValueError: negative ``steps``, or no problems.
        UserError: one image alone does not fit into the device's memory.
    Cost:
        Stacked: N times the weights, their optimiser state and one step's activations.
    """
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}")
    if not problems:
        raise ValueError("nothing to fit: the list of problems is empty")
    execution = execution or Execution()
    stacked, device = execution.stacked, problems[0].y.device.type
    if stacked is None:
        stacked = device == "cuda"
    priors = {c: prior.with_channels(c) for c in {p.image_shape[0] for p in problems}}
    results: dict[int, FitResult] = {}
    # The precision is that of execution, also inside somebody's mixed-precision training.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device, enabled=False),
    ):
        for group in _groups(problems, together=stacked):
            chunk = [_as_normal_tensors(problems[i]) for i in group]
            recipe = Recipe(priors[chunk[0].image_shape[0]], objective, optimizer, steps, execution)
            run = partial(_run, recipe=recipe, hooks=hooks)
            results.update(zip(group, fit_in_chunks(chunk, recipe, run), strict=True))
    return [results[i] for i in range(len(problems))]


def _groups(problems: Sequence[InverseProblem], *, together: bool) -> list[list[int]]:
    """Return which problems are fitted at once: one by one, or all of one image size."""
    if not together:
        return [[i] for i in range(len(problems))]
    by_shape: dict[tuple[int, int, int], list[int]] = {}
    for i, problem in enumerate(problems):
        by_shape.setdefault(problem.image_shape, []).append(i)
    return list(by_shape.values())


def _as_normal_tensors(problem: InverseProblem) -> InverseProblem:
    """Clone tensors that inference mode made: autograd refuses them."""
    x = problem.x.clone() if problem.x is not None and problem.x.is_inference() else problem.x
    return replace(problem, y=problem.y.clone() if problem.y.is_inference() else problem.y, x=x)


def _run(
    problems: Sequence[InverseProblem], *, recipe: Recipe, hooks: Sequence[Hook]
) -> list[FitResult]:
    """Fit problems of one image shape together."""
    return _Fit(problems, recipe, hooks=hooks).run()


class _Fit:
    """One group of images being fitted: weights and optimiser state, and the hooks' view of it."""

    def __init__(
        self, problems: Sequence[InverseProblem], recipe: Recipe, *, hooks: Sequence[Hook]
    ) -> None:
        self.problems, self.hooks = list(problems), hooks
        self.objective, self.optimizer = recipe.objective, recipe.optimizer
        self.device, prior = problems[0].y.device, recipe.prior
        starts = [prior.start(problem) for problem in problems]
        autocast = recipe.execution.autocast
        self.weights = weights_of(prior.network, [start for start, _ in starts], autocast=autocast)
        self.opt_state: State = self.optimizer.init(tuple(p.detach() for p in self.weights.params))
        self.safeguard = Safeguard(recipe.execution.backtracking)
        z = self.weights.arrange(torch.cat([z for _, z in starts]))
        self.state = FitState(
            problems=self.problems,
            n_steps=recipe.steps,
            active=torch.arange(len(problems), device=self.device),
            z=z,
            generators=[torch.Generator(self.device).manual_seed(p.seed) for p in problems],
            output=z.new_zeros(len(problems), *problems[0].image_shape),
        )
        self.state.network = self.weights

    def run(self) -> list[FitResult]:
        """Do all steps and collect one result per image."""
        state, begin = self.state, time.perf_counter()
        self._call("on_reconstruction_start")
        for step in range(state.n_steps + 1):
            state.step, state.z_input = step, state.z
            self._call("on_step_start")
            output = self._look(needs_grads=step < state.n_steps)
            self._publish(output)
            if step == state.n_steps or len(state.stop_steps) == len(self.problems):
                break
            grads = self._drop_stopped(output.grads) if state.stop_steps else output.grads
            with torch.no_grad():
                params = self.weights.params
                self._take(*self.optimizer.update(params, grads, self.opt_state, step))
        self._call("on_reconstruction_end")
        return self._results(time.perf_counter() - begin)

    def _take(self, params: Tensors, opt_state: State) -> None:
        """Take new weights and optimiser state, of images that go back the accepted ones."""
        params, self.opt_state = self.safeguard.put_back(params, opt_state)
        self.weights.load(params)

    def _look(self, *, needs_grads: bool) -> StepOutput:
        """Compute images, losses and gradients of the active images."""
        state = self.state
        active = self.problems
        if len(state.active) < len(active):
            active = [active[i] for i in state.active.tolist()]
        with torch.set_grad_enabled(needs_grads):
            return fit_step(
                self.weights,
                self.weights.params,
                state.z_input,
                active,
                self.objective,
                needs_grads=needs_grads,
            )

    def _publish(self, output: StepOutput) -> None:
        """Show the step to the hooks; of a diverged image, the state to which it goes back."""
        state = self.state
        state.x_hat, state.loss = output.x_hat.detach(), output.loss.detach()
        if self.safeguard.watch(state):
            self._take(self.weights.params, self.opt_state)
        state.record("loss", state.loss)
        self._call("on_step_end")
        self.safeguard.accept(state, self.weights.params, self.opt_state)

    def _drop_stopped(self, grads: Tensors) -> Tensors:
        """Let images that have stopped leave the batch; return the gradients of the others."""
        state = self.state
        stay = [image not in state.stop_steps for image in state.active.tolist()]
        if all(stay):
            return grads
        keep = torch.tensor(stay, device=self.device)
        state.active, state.z = state.active[keep], state.z[keep]
        self.weights.keep(keep)
        self.safeguard.keep(keep)
        self.opt_state = tuple(tuple(s[keep] for s in tensors) for tensors in self.opt_state)
        return tuple(g[keep] for g in grads)

    def _call(self, method: str) -> None:
        with torch.no_grad():
            for hook in self.hooks:
                getattr(hook, method)(self.state)

    def _results(self, seconds: float) -> list[FitResult]:
        """Collect what each image got; a curve ends where its image stopped."""
        state = self.state
        steps = [state.stop_steps.get(i, state.n_steps) for i in range(len(self.problems))]
        return [
            FitResult(
                x_hat=state.output[i : i + 1].clone(),
                steps=made,
                stop_step=state.stop_steps.get(i),
                stop_reason=state.stop_reasons.get(i),
                seconds=seconds / len(self.problems),
                curves={name: c[i, : made + 1].clone() for name, c in state.curves.items()},
                rollbacks=state.rollbacks.get(i, 0),
            )
            for i, made in enumerate(steps)
        ]
