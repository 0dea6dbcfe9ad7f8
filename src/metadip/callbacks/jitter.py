"""Perturb the network's input."""

from __future__ import annotations

import math

import torch

from metadip.callbacks.base import FitCallback
from metadip.types import FitState


class LatentJitter(FitCallback):
    """Add fresh Gaussian noise to the latent at every step, which regularises the fit.

    Model:
        z_input = z + std * n with n ~ N(0, I), drawn from the image's own random stream, so that an
        image sees the same noise alone and in a batch.
    Shape:
        Sets ``z_input`` (A, Cz, H, W).
    Args:
        std: at least 0; 1/30 in the deep image prior, whose latent lies in [0, 0.1].
    Raises:
        ValueError: ``std`` is negative or not finite.
    References: Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925.
    """

    def __init__(self, std: float) -> None:
        if not (math.isfinite(std) and std >= 0):
            raise ValueError(f"std must be finite and at least 0, got {std}")
        self.std = std

    def on_step_start(self, state: FitState) -> None:
        """Perturb the latent of every active image."""
        if self.std == 0:
            return
        noise = torch.stack([self._draw(state, image) for image in state.active.tolist()])
        state.z_input = torch.add(state.z, noise, alpha=self.std)

    def _draw(self, state: FitState, image: int) -> torch.Tensor:
        generator = state.generators[image]
        shape, device = state.z.shape[1:], generator.device
        return torch.randn(shape, generator=generator, device=device, dtype=state.z.dtype).to(
            state.z.device
        )
