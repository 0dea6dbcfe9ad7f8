"""Keep the best iterate of each image by a score that needs no ground truth."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from metadip.callbacks.base import FitCallback, active_rows
from metadip.types import FitState


class BestSoFar:
    """The lowest score of each of the N images, its step, and the image that had it.

    Shape:
        ``scores``, ``steps``: (N,); infinity and -1 if there is none. ``images``: (N, C, H, W).
    Args:
        state: the fit that begins.
    """

    def __init__(self, state: FitState) -> None:
        n, device = len(state.problems), state.output.device
        self.scores = torch.full((n,), torch.inf, dtype=torch.float64, device=device)
        self.steps = torch.full((n,), -1, device=device)
        self.images = torch.zeros_like(state.output)

    def update(
        self,
        state: FitState,
        scores: Tensor,
        look: Callable[[], Tensor],
        *,
        min_improvement: float = 0.0,
    ) -> None:
        """Keep the images ``look()`` (A, C, H, W) whose ``scores`` (A,) are strictly lower.

        NaN never is. ``look`` is called only if there is something to keep. When an image is taken
        back, what was found after the step it returns to is forgotten.
        """
        self._forget(state)
        better = scores < self.scores[active_rows(state)] * (1 - min_improvement)
        rows = better.nonzero().flatten()
        if len(rows):
            images = state.active[rows]
            self.scores[images] = scores[rows].double()
            self.steps[images] = state.step
            self.images[images] = look()[rows]
            state.choose(rows.tolist())
        self.record(state)

    def record(self, state: FitState) -> None:
        """Record the curve ``chosen_step``: the step of the best so far, NaN if there is none."""
        self._forget(state)
        steps = self.steps[active_rows(state)]
        state.record("chosen_step", torch.where(steps < 0, torch.nan, steps.double()))

    def _forget(self, state: FitState) -> None:
        for image, step in state.taken_back.items():
            if self.steps[image] > step:
                self.scores[image], self.steps[image] = torch.inf, -1
                state.chosen.pop(image, None)

    def stop_stale(self, state: FitState, *, patience: int, rule: str, score: str) -> None:
        """Stop images without a new minimum for ``patience`` steps, and write their outputs."""
        if state.step < patience:  # no minimum can be that old: avoid a GPU synchronisation
            return
        steps = self.steps[active_rows(state)]
        stale = (steps >= 0) & (state.step - steps >= patience)
        for row in stale.nonzero().flatten().tolist():
            image = int(state.active[row])
            state.output[image] = self.images[image]
            reason = (
                f"{rule}: the {score} has not fallen for {patience} steps since its minimum "
                f"{self.scores[image].item():.3g} at step {int(self.steps[image])}"
            )
            state.stop(torch.arange(len(stale), device=stale.device) == row, reason)

    def write(self, state: FitState) -> None:
        """Write the best image of each of the N, stopped or not, that has one."""
        found = self.steps >= 0
        state.output[found] = self.images[found]


class BestIterate(FitCallback):
    """Return the output of the step with the lowest training loss instead of the last one.

    Guards against the sudden jumps of a long fit; it does not prevent overfitting, since the loss
    keeps falling while noise is fitted. Placed after ``OutputEMA``, it keeps the averaged output
    of that step. If several hooks choose an iterate, the last in the list decides.

    Shape:
        Reads one value per image (A,), keeps ``output`` (A, C, H, W).
    Args:
        criterion: the curve to minimise, ``loss`` or one that an earlier hook recorded; not
            negative.
        min_improvement: fraction of the best value by which a new one must be lower, in [0, 1).
            0.005 in the deep decoder, 0.01 in Net-GD, 0 for any improvement.
    Raises:
        ValueError: If ``min_improvement`` is outside [0, 1), if ``criterion`` uses the ground
            truth, or, during a fit, if no hook recorded the curve.
    Cost: one copy of each image.
    """

    def __init__(self, criterion: str = "loss", *, min_improvement: float) -> None:
        if not 0 <= min_improvement < 1:
            raise ValueError(f"min_improvement must be in [0, 1), got {min_improvement}")
        if criterion.startswith("psnr"):
            raise ValueError(f"criterion {criterion!r} reads the ground truth; use the loss")
        self.criterion, self.min_improvement = criterion, min_improvement
        self.best_steps = torch.empty(0, dtype=torch.int64)

    def on_reconstruction_start(self, state: FitState) -> None:
        """Forget the previous fit."""
        self._best = BestSoFar(state)
        self.best_steps = self._best.steps

    def on_step_end(self, state: FitState) -> None:
        """Keep the output where the criterion has improved."""
        if self.criterion == "loss":
            scores = state.loss
        elif self.criterion in state.curves:
            scores = state.curves[self.criterion][state.active, state.step]
        else:
            known = ", ".join(["loss", *state.curves])
            raise ValueError(f"no curve {self.criterion!r} to minimise; recorded are {known}")
        self._best.update(
            state,
            scores,
            lambda: state.output[active_rows(state)],
            min_improvement=self.min_improvement,
        )

    def on_reconstruction_end(self, state: FitState) -> None:
        """Return the best outputs."""
        self._best.write(state)
