"""Perturb the latent by noise that fades over the steps."""

from __future__ import annotations

import math

from metadip.callbacks.base import FitCallback
from metadip.types import FitState, UserError


class FadingJitter(FitCallback):
    """Add fresh Gaussian noise to the latent at every step, less of it as the fit goes on.

    Model:
        z + std factor^floor(k / every) n enters the network at step k, n ~ N(0, I) from the image's
        own random stream.
    Shape:
        Sets ``jitter`` of ``z``, (A, ...).
    Args:
        std: at first, at least 0; 0.005 in the deep decoder for compression and inpainting.
        factor: in (0, 1]; 0.7 there.
        every: steps from one fading to the next, at least 1; 500 there.
    Raises:
        ValueError: If an argument is out of range.
        UserError: When a fit begins, if the representation has no input z.
    References: Heckel and Hand (2019), Deep Decoder, arXiv:1810.03982 (authors' code).
    """

    def __init__(self, std: float, *, factor: float, every: int) -> None:
        if not (math.isfinite(std) and std >= 0 and 0 < factor <= 1 and every >= 1):
            raise ValueError(
                f"need std >= 0, factor in (0, 1] and every >= 1, got {std}, {factor} and {every}"
            )
        self.std, self.factor, self.every = std, factor, every

    def on_reconstruction_start(self, state: FitState) -> None:
        """Check that there is a latent."""
        if "z" not in state.inputs:
            known = ", ".join(state.inputs) or "none"
            raise UserError(f"no input 'z' to perturb; the representation has {known}")

    def on_step_start(self, state: FitState) -> None:
        """Perturb the latent of every active image."""
        std = self.std * self.factor ** (state.step // self.every)
        state.jitter["z"] = std * state.draw(state.inputs["z"])
