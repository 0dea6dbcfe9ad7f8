"""Iterations that fit no network, shown to the same hooks as fits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from metadip.fitting import measured
from metadip.physics.splitting import real_dtype
from metadip.seeding import Stream, seed_of
from metadip.types import Estimate, FitResult, FitState, InverseProblem


def watch(
    problem: InverseProblem, images: Iterator[Tensor], *, steps: int, hooks: Sequence[Any]
) -> FitResult:
    """Draw ``steps`` + 1 images, show each to the hooks, and return the last.

    The curve ``loss`` is the misfit ||A(x_hat) - y||^2 / n. Hooks may record and stop; there is no
    inputs to perturb and no weights to look at.

    Shape:
        ``images``: (1, C, H, W) each, the first of them before any step.
    """
    y = problem.y
    begin = _now(y)
    state = FitState(
        problems=[problem],
        n_steps=steps,
        active=torch.zeros(1, dtype=torch.int64, device=y.device),
        inputs={},
        generators=[torch.Generator(y.device).manual_seed(seed_of(problem.seed, Stream.STEPS))],
        output=torch.zeros(1, *problem.image_shape, dtype=real_dtype(y), device=y.device),
        again=lambda: state.estimate,
    )
    _call(hooks, "on_reconstruction_start", state)
    for step in range(steps + 1):
        state.step = step
        _call(hooks, "on_step_start", state)
        state.x_hat = next(images)
        state.output.copy_(state.x_hat)
        state.loss = state.misfit = _misfit(problem, state.estimate)
        state.record("loss", state.loss)
        _call(hooks, "on_step_end", state)
        if state.stop_steps:
            break
    _call(hooks, "on_reconstruction_end", state)
    return FitResult(
        x_hat=state.output,
        steps=state.step,
        stop_step=state.stop_steps.get(0),
        stop_reason=state.stop_reasons.get(0),
        seconds=_now(y) - begin,
        curves={name: curve[0, : state.step + 1] for name, curve in state.curves.items()},
    )


def _misfit(problem: InverseProblem, estimate: Estimate) -> Tensor:
    """Return ||A(x_hat) - y||^2 / n, (1,)."""
    y_hat, y = measured([problem], estimate)
    return (y_hat - y).abs().square().sum().reshape(1) / estimate.x.numel()


def _now(like: Tensor) -> float:
    """Return the time in seconds once all work on a tensor's device is done."""
    if like.is_cuda:
        torch.cuda.synchronize(like.device)
    return time.perf_counter()


def _call(hooks: Sequence[Any], method: str, state: FitState) -> None:
    for hook in hooks:
        getattr(hook, method)(state)
