"""Noise on convolutions that are not fitted, for one step at a time."""

from __future__ import annotations

import math

from torch import Tensor

from metadip.callbacks.base import FitCallback
from metadip.types import FitState


class PassingNoise(FitCallback):
    """Add Gaussian noise to the convolutions for one step, and take it off again.

    Model:
        The step is computed with W + std n, n ~ N(0, I) fresh at each step from the image's own
        stream, for every weight with four dimensions; then W is as before. The Deep Random
        Projector describes this for inpainting. Its code keeps the noise, which accumulates:
        that is ``LangevinNoise`` with the same std.
    Args:
        std: at least 0; 0.001 in the Deep Random Projector.
    Raises:
        ValueError: If ``std`` is negative or not finite.
    Cost: a copy of the convolutions.
    References: Li et al. (2023), Deep Random Projector: Accelerated Deep Image Prior, CVPR.
    """

    def __init__(self, std: float) -> None:
        if not (math.isfinite(std) and std >= 0):
            raise ValueError(f"std must be finite and at least 0, got {std}")
        self.std = std
        self._kept: dict[str, Tensor] = {}

    def on_step_start(self, state: FitState) -> None:
        """Perturb the convolutions of every active image."""
        for name, weight in state.weights.items():
            if weight.ndim == 5:  # (A, out, in, height, width)
                self._kept[name] = weight.detach().clone()
                weight.add_(self.std * state.draw(weight))

    def on_step_end(self, state: FitState) -> None:
        """Restore them."""
        for name, before in self._kept.items():
            state.weights[name].copy_(before)
        self._kept = {}
