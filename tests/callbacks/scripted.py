"""A stand-in for the loop whose reconstructions are written beforehand."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metadip.types import Estimate, FitState, InverseProblem

NO_PHYSICS: Any = None


def without_physics(truths: Sequence[Tensor | None], shape: Sequence[int]) -> list[InverseProblem]:
    """Return problems that nothing is known of but their truths."""
    c, h, w = shape
    y = torch.zeros(1, 1)
    return [
        InverseProblem(y, NO_PHYSICS, (c, h, w), x=x, name=f"image{i}", seed=i)
        for i, x in enumerate(truths)
    ]


def begin(problems: Sequence[InverseProblem], n_steps: int) -> FitState:
    """Return the state of N images before the first step."""
    n, (c, h, w) = len(problems), problems[0].image_shape
    return FitState(
        problems=problems,
        n_steps=n_steps,
        active=torch.arange(n),
        inputs={"z": torch.zeros(n, 2, h, w)},
        generators=[torch.Generator().manual_seed(i) for i in range(n)],
        output=torch.zeros(n, c, h, w),
        again=lambda **_: Estimate(torch.empty(0)),
    )


def run_script(
    script: Tensor,
    hooks: Sequence[Any],
    *,
    losses: Tensor | None = None,
    truths: Sequence[Tensor | None] | None = None,
    z: Tensor | None = None,
    problems: Sequence[InverseProblem] | None = None,
    clean: Tensor | None = None,
    taken_back: Mapping[int, dict[int, int]] | None = None,
) -> FitState:
    """Play a script (N, T, C, H, W) to hooks as ``fit`` would; losses (N, T).

    ``clean``, of the same shape, is what the network makes of the unperturbed latent;
    ``taken_back`` says at which steps which images go back to which step.
    """
    n, n_frames = script.shape[:2]
    losses = torch.ones(n, n_frames) if losses is None else losses
    problems = problems or without_physics(truths or [None] * n, script.shape[2:])
    state = begin(problems, n_frames - 1)
    state.output = state.output.to(script.dtype)
    if z is not None:
        state.inputs = {"z": z}
    state.again = lambda **_: Estimate(_frame(script if clean is None else clean, state))

    call(hooks, "on_reconstruction_start", state)
    for state.step in range(n_frames):
        state.jitter = {}
        call(hooks, "on_step_start", state)
        state.x_hat, state.loss = (_frame(t, state).clone() for t in (script, losses))
        state.taken_back = (taken_back or {}).get(state.step, {})
        back = torch.tensor([i in state.taken_back for i in state.active.tolist()])
        good = state.loss.isfinite() | back
        state.output[state.active[good]] = state.x_hat[good]
        state.stop(~good, "diverged")
        state.record("loss", state.loss)
        call(hooks, "on_step_end", state)
        if len(state.stop_steps) == n:
            break
        drop_stopped(state)
    call(hooks, "on_reconstruction_end", state)
    return state


def _frame(script: Tensor, state: FitState) -> Tensor:
    """Return what a script has for the active images at this step."""
    return script[state.active, state.step]


def call(hooks: Sequence[Any], method: str, state: FitState) -> None:
    """Call a method of every hook."""
    for hook in hooks:
        getattr(hook, method)(state)


def drop_stopped(state: FitState) -> None:
    """Let images that have stopped leave the batch."""
    keep = torch.tensor([i not in state.stop_steps for i in state.active.tolist()])
    state.active = state.active[keep]
    state.inputs = {name: tensor[keep] for name, tensor in state.inputs.items()}


def random_script(n: int, n_frames: int, *, spread: Tensor | None = None, seed: int = 0) -> Tensor:
    """Return frames around 0.5 whose spread over time is given, (N, T)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, n_frames, 3, 4, 5, generator=generator)
    spread = torch.full((n, n_frames), 0.1) if spread is None else spread
    return 0.5 + spread[:, :, None, None, None] * noise


def valley(n_frames: int, bottom: int, *, depth: float = 0.1) -> Tensor:
    """Return a spread (T,) that falls until ``bottom`` and rises again."""
    return 0.01 + depth * (torch.arange(n_frames) - bottom).abs() / n_frames
