"""Iterations that fit no network, watched by the same hooks as fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from deepinv.models import Reconstructor
from deepinv.physics import Physics
from torch import Tensor

from metadip.fitting import measured
from metadip.methods.denoisers import Denoiser
from metadip.methods.method import check_known
from metadip.physics.scaling import rescaled
from metadip.physics.splitting import ImageShape, Measured, real_dtype, split
from metadip.seeding import Stream, seed_of
from metadip.types import Estimate, FitResult, FitState, InverseProblem

Images = Callable[[InverseProblem, Any], Iterator[Tensor]]
Check = Callable[[InverseProblem, Any, str], None]


class Iterative(Reconstructor):
    """Reconstruct by an iteration, around a denoiser or without one.

    Shape:
        ``forward(y, physics)``: y (B, ...) -> (B, C, H, W). Images are independent of one another.
    Args:
        denoiser: one of ``metadip.methods.denoisers``, or deepinv's; None without.
        images: yields, for a problem and the denoiser, the start (1, C, H, W) and then the image of
            each step.
        steps: number of steps, at least 1.
        check: raises ``UserError`` if a problem, of the task with the given name, is not supported.
        rescale: bring the operators of ``forward`` to the scale of ours, see ``rescaled``.
    """

    def __init__(
        self, denoiser: Denoiser | None, *, images: Images, steps: int, check: Check, rescale: bool
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self._images, self._steps, self._check, self._rescale = images, steps, check, rescale

    @property
    def image_channels(self) -> int | None:
        """The channels of a denoiser whose weights are for one number of channels."""
        return getattr(self.denoiser, "channels", None)

    def check(self, problem: InverseProblem, *, task: str) -> None:
        """Raise ``UserError`` if the iteration does not support a problem."""
        check_known(problem, task=task)
        self._check(problem, self.denoiser, task)

    def forward(
        self,
        y: Measured,
        physics: Physics,
        *,
        image_shape: ImageShape | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the reconstructions of a batch of measurements, see ``splitting.split``."""
        problems = split(y, physics, image_shape=image_shape)
        results = self.reconstruct(rescaled(problems) if self._rescale else problems)
        return torch.cat([result.x_hat for result in results])

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Reconstruct every problem; hooks see the start as step 0, then the image of each step."""
        for problem in problems:
            self.check(problem, task=type(problem.physics).__name__)
        with torch.inference_mode(False), torch.no_grad():
            return [
                watch(p, self._images(p, self.denoiser), steps=self._steps, hooks=hooks)
                for p in problems
            ]


def watch(
    problem: InverseProblem,
    images: Iterator[Tensor | Estimate],
    *,
    steps: int,
    hooks: Sequence[Any],
) -> FitResult:
    """See ``watch_all``, for one problem."""
    (result,) = watch_all([problem], images, steps=steps, hooks=hooks)
    return result


def watch_all(
    problems: Sequence[InverseProblem],
    images: Iterator[Tensor | Estimate],
    *,
    steps: int,
    hooks: Sequence[Any],
) -> list[FitResult]:
    """Draw ``steps`` + 1 batches of images, show each to the hooks, and return the last.

    The curve ``loss`` is the misfit ||A(x_hat) - y||^2 / n. Hooks may record and stop; there are no
    inputs to perturb and no weights to look at. The images of problems that have stopped are drawn
    until all have, but not shown.

    Args:
        problems: N problems whose images have one size.
        images: (N, C, H, W) each, or estimates of more than that, the first before any step.
        steps: number of steps.
        hooks: see ``metadip.fitting.fit``.
    """
    y, begin = problems[0].y, _now(problems[0].y)
    seeds = [seed_of(p.seed, Stream.STEPS) for p in problems]
    shape = len(problems), *problems[0].image_shape
    state = FitState(
        problems=problems,
        n_steps=steps,
        active=torch.arange(len(problems), device=y.device),
        inputs={},
        generators=[torch.Generator(y.device).manual_seed(seed) for seed in seeds],
        output=torch.zeros(shape, dtype=real_dtype(y), device=y.device),
        again=lambda: state.estimate,
    )
    _call(hooks, "on_reconstruction_start", state)
    for step in range(steps + 1):
        state.step = step
        _call(hooks, "on_step_start", state)
        _show(state, next(images))
        _call(hooks, "on_step_end", state)
        going = [image not in state.stop_steps for image in state.active.tolist()]
        if not any(going):
            break
        state.active = state.active[torch.tensor(going, device=y.device)]
    _call(hooks, "on_reconstruction_end", state)
    seconds = (_now(y) - begin) / len(problems)
    return [_result(state, image, seconds) for image in range(len(problems))]


def _show(state: FitState, made: Tensor | Estimate) -> None:
    """Put what a step made, (N, C, H, W) images or estimates of more, into the state."""
    every = made if isinstance(made, Estimate) else Estimate(made)
    active = state.active.tolist()
    state.estimate = every.each(lambda tensor: tensor[active])
    state.output[state.active] = state.x_hat
    state.loss = state.misfit = torch.cat([
        _misfit(state.problems[image], state.estimate.each(lambda tensor, row=row: tensor[[row]]))  # type: ignore[misc]
        for row, image in enumerate(active)
    ])  # fmt: skip
    state.record("loss", state.loss)


def _result(state: FitState, image: int, seconds: float) -> FitResult:
    """Return the result of one image; its curves end where it stopped."""
    made = state.stop_steps.get(image, state.n_steps)
    return FitResult(
        x_hat=state.output[image : image + 1].clone(),
        steps=made,
        stop_step=state.stop_steps.get(image),
        stop_reason=state.stop_reasons.get(image),
        seconds=seconds,
        curves={name: curve[image, : made + 1].clone() for name, curve in state.curves.items()},
        estimate=state.chosen.get(image, state.estimate) if state.estimate.operator else None,
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
