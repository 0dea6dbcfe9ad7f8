"""Perturb a noisy image that enters the network, by a share of the noise that it has."""

from __future__ import annotations

import math

import torch

from metadip.callbacks.base import FitCallback
from metadip.fitting.sure import noise_variance
from metadip.types import FitState


class NoiseJitter(FitCallback):
    """Add fresh Gaussian noise to a noisy input at every step, at most a share of its own.

    Model:
        y + eta n enters the network, n ~ N(0, I) and eta ~ U(0, share * sigma), both from the
        image's own random stream, with sigma as the problem's noise model tells.
    Shape:
        Sets ``jitter`` of the input, (A, C, H, W).
    Args:
        share: at least 0; 0.5 for colour and 0.3 for grey images in the authors' code.
        input: name of the input that is perturbed.
    Raises:
        ValueError: If ``share`` is negative or not finite; during a fit, if the representation has
            no such input.
        UserError: When a fit begins, if a noise model tells no level.
    References:
        Jo et al. (2021), Rethinking Deep Image Prior for Denoising, arXiv:2108.12841.
    """

    def __init__(self, share: float, *, input: str = "z") -> None:
        if not (math.isfinite(share) and share >= 0):
            raise ValueError(f"share must be finite and at least 0, got {share}")
        self.share, self.input = share, input

    def on_reconstruction_start(self, state: FitState) -> None:
        """Ask every problem for its noise."""
        if self.input not in state.inputs:
            known = ", ".join(state.inputs) or "none"
            raise ValueError(f"no input {self.input!r} to perturb; the representation has {known}")
        stds = [math.sqrt(noise_variance(problem)) for problem in state.problems]
        self._stds = state.output.new_tensor(stds)

    def on_step_start(self, state: FitState) -> None:
        """Perturb the input of every active image."""
        uniform = torch.special.ndtr(state.draw(state.output.new_empty(len(state.active), 1)))
        eta = self.share * self._stds[state.active] * uniform[:, 0]
        noise = state.draw(state.inputs[self.input])
        state.jitter[self.input] = eta.view(-1, *[1] * (noise.ndim - 1)) * noise
