"""Stop a fit whose reconstruction hardly changes any more."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metadip.callbacks.base import FitCallback, active_rows
from metadip.types import FitState


class Converged(FitCallback):
    """Stop each image at the first step that hardly changes it, and return that step's image.

    Model:
        delta_k = ||x_k - x_{k-1}|| / ||x_k||. The fit stops at the first delta_k <= tolerance. It
        suits priors whose inputs are refreshed, which take large steps; a fit by gradient descent
        with small steps changes little at a step long before it has converged.
    Shape:
        Reads ``x_hat`` (A, C, H, W). Records ``change``, delta_k, from step 1 on.
    Args:
        tolerance: above 0.
    Raises:
        ValueError: If ``tolerance`` is not finite or not above 0.
    """

    def __init__(self, tolerance: float) -> None:
        if not (math.isfinite(tolerance) and tolerance > 0):
            raise ValueError(f"tolerance must be finite and above 0, got {tolerance}")
        self.tolerance = tolerance

    def on_reconstruction_start(self, state: FitState) -> None:
        """Forget the images of an earlier fit."""
        self._before: Tensor | None = None

    def on_step_end(self, state: FitState) -> None:
        """Compare with the step before."""
        rows = active_rows(state)
        if self._before is None:
            self._before = torch.zeros_like(state.output)
        else:
            change = _norm(state.x_hat - self._before[rows]) / _norm(state.x_hat)
            state.record("change", change)
            done = change <= self.tolerance
            state.output[state.active[done]] = state.x_hat[done]
            state.stop(done, f"converged: a step changed less than {self.tolerance:g} of the image")
        self._before[rows] = state.x_hat


def _norm(x: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return norms
