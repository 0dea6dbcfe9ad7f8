"""Perturb inputs of the representation."""

from __future__ import annotations

import math
from collections.abc import Sequence

from metadip.callbacks.base import FitCallback
from metadip.types import FitState


class LatentJitter(FitCallback):
    """Add fresh Gaussian noise to the latent at every step, which regularises the fit.

    Model:
        z + std * n enters the network, n ~ N(0, I) drawn from the image's own random stream, so
        that an image sees the same noise whether fitted alone or in a batch. An input that the fit
        updates keeps its gradient.
    Shape:
        Sets ``jitter`` of the inputs, (A, ...) each.
    Args:
        std: at least 0; 1/30 in the deep image prior, whose latent lies in [0, 0.1].
        inputs: names of the inputs to perturb.
    Raises:
        ValueError: If ``std`` is negative or not finite; during a fit, if the representation has no
            input of that name.
    References: Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925.
    """

    def __init__(self, std: float, *, inputs: Sequence[str] = ("z",)) -> None:
        if not (math.isfinite(std) and std >= 0):
            raise ValueError(f"std must be finite and at least 0, got {std}")
        self.std, self.inputs = std, tuple(inputs)

    def on_reconstruction_start(self, state: FitState) -> None:
        """Check the names."""
        for name in self.inputs:
            if name not in state.inputs:
                known = ", ".join(state.inputs) or "none"
                raise ValueError(f"no input {name!r} to perturb; the representation has {known}")

    def on_step_start(self, state: FitState) -> None:
        """Perturb the inputs of every active image."""
        if self.std > 0:
            for name in self.inputs:
                state.jitter[name] = self.std * state.draw(state.inputs[name])
