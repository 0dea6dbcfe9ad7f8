"""Stop a fit whose objective, an estimate of the true error, falls below zero."""

from __future__ import annotations

from torch import Tensor

from metadip.callbacks.base import FitCallback
from metadip.types import FitState


class BelowZero(FitCallback):
    """Stop each image at the first step whose loss is below zero, and return the output before.

    Model:
        An unbiased estimate of a squared error, such as ``SureDivergence`` makes of the objective,
        is negative only once the fit makes use of its noise. The output of the step before is
        returned: averaged, if this hook stands after ``OutputEMA``. No ground truth is used.
    Shape:
        Reads ``loss`` (A,) and ``output``.
    Cost: a copy of the N outputs.
    References:
        Jo et al. (2021), Rethinking Deep Image Prior for Denoising, arXiv:2108.12841.
    """

    _before: Tensor

    def on_reconstruction_start(self, state: FitState) -> None:
        """Forget the previous fit."""
        self._before = state.output.clone()

    def on_step_end(self, state: FitState) -> None:
        """Stop the images that have fallen below zero."""
        done = state.loss < 0
        if state.step:
            images = state.active[done]
            state.output[images] = self._before[images]
        state.stop(done, "the loss, an estimate of the true error, has fallen below zero")
        self._before.copy_(state.output)
