"""Perturb a noisy image that enters the network, by a share of the noise that it has."""

from __future__ import annotations

import math

import torch

from metadip.callbacks.base import FitCallback
from metadip.physics.noise_level import estimated_noise_std, expected_noise_energy
from metadip.types import FitState, InverseProblem


class NoiseJitter(FitCallback):
    """Add fresh Gaussian noise to a noisy input at every step, at most a share of its own.

    Model:
        y + eta n enters the network, n ~ N(0, I) and eta ~ U(0, share * sigma), both from the
        image's own random stream, with sigma as the problem's noise model tells, or else as
        ``estimated_noise_std`` finds it.
    Shape:
        Sets ``jitter`` of the input, (A, C, H, W).
    Args:
        share: at least 0; 0.5 for colour and 0.3 for grey images in the authors' code.
        input: name of the input that is perturbed.
    Raises:
        ValueError: If ``share`` is negative or not finite; during a fit, if the representation has
            no such input.
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
        self._stds = torch.cat([_noise_std(problem) for problem in state.problems])

    def on_step_start(self, state: FitState) -> None:
        """Perturb the input of every active image."""
        uniform = torch.special.ndtr(state.draw(state.output.new_empty(len(state.active), 1)))
        eta = self.share * self._stds[state.active] * uniform[:, 0]
        noise = state.draw(state.inputs[self.input])
        state.jitter[self.input] = eta.view(-1, *[1] * (noise.ndim - 1)) * noise


def _noise_std(problem: InverseProblem) -> torch.Tensor:
    """Return the noise level (1,) of a noisy image."""
    energy = expected_noise_energy(problem)
    if energy is None:
        return estimated_noise_std(problem.y)
    return problem.y.new_full((1,), math.sqrt(energy / problem.y.numel()))
