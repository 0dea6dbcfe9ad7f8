"""Uniform noise on the passes of self-guided DIP."""

from __future__ import annotations

import math

import torch

from metadip.callbacks.base import FitCallback
from metadip.types import FitState, UserError


class PassNoise(FitCallback):
    """Perturb each pass by uniform noise in proportion to the largest value of the input.

    Model:
        passes_m ~ U(0, share max|z|), fresh at each step, from the image's own stream.
    Shape:
        Sets ``jitter`` of ``passes``, (A, M, C, H, W).
    Args:
        share: at least 0; 0.01 in the handbook's code.
    Raises:
        ValueError: If ``share`` is negative or not finite.
        UserError: When a fit begins, if the representation has no such input.
    References: see ``metadip.priors.SelfGuided``.
    """

    def __init__(self, share: float) -> None:
        if not (math.isfinite(share) and share >= 0):
            raise ValueError(f"share must be finite and at least 0, got {share}")
        self.share = share

    def on_reconstruction_start(self, state: FitState) -> None:
        """Check the names."""
        if "passes" not in state.inputs:
            known = ", ".join(state.inputs) or "none"
            raise UserError(f"no input 'passes' to perturb: take prior=self_guided, not {known}")

    def on_step_start(self, state: FitState) -> None:
        """Perturb the passes of every active image."""
        uniform = torch.special.ndtr(state.draw(state.inputs["passes"]))
        largest = state.inputs["z"].abs().flatten(1).amax(dim=1)
        state.jitter["passes"] = self.share * largest[:, None, None, None, None] * uniform
