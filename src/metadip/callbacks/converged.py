"""Stop a fit whose reconstruction hardly changes any more."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metadip.callbacks.base import FitCallback, active_rows
from metadip.types import FitState


class Converged(FitCallback):
    """Stop each image at the first step that hardly changes it, and return what it settled at.

    Model:
        delta_k = ||x_k - x_{k-1}|| / ||x_k||, and gamma_k the same with x_{k-2}. The fit stops at
        the first delta_k <= tolerance and returns x_k, or at the first gamma_k <= tolerance and
        returns (x_k + x_{k-1}) / 2: a prior that sees every second step mirrored settles at two
        images in turn, and their mean is better than either. It suits priors whose inputs are
        refreshed, which take large steps; a fit by gradient descent with small steps changes little
        at a step long before it has converged.
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
        self._before: list[Tensor] = []  # of the last two steps, the later one first

    def on_step_end(self, state: FitState) -> None:
        """Compare with the two steps before."""
        rows, x = active_rows(state), state.x_hat
        changes = [_norm(x - before[rows]) / _norm(x) for before in self._before]
        if changes:
            state.record("change", changes[0])
            done = torch.stack(changes).amin(0) <= self.tolerance
            still = (changes[0] <= self.tolerance).view(-1, 1, 1, 1)
            settled = torch.where(still, x, (x + self._before[0][rows]) / 2)
            state.output[state.active[done]] = settled[done]
            state.stop(done, f"converged: a step changed less than {self.tolerance:g} of the image")
        now = torch.zeros_like(state.output)
        now[rows] = x
        self._before = [now, *self._before][:2]


def _norm(x: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return norms
