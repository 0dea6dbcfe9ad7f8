"""Sample the weights by Langevin dynamics, and average the images they generate."""

from __future__ import annotations

import logging
import math

import torch

from metadip.callbacks.base import FitCallback, active_rows
from metadip.types import FitState

LOG = logging.getLogger(__name__)


class LangevinNoise(FitCallback):
    """Add Gaussian noise to the convolutions after every update.

    Model:
        W <- W + std * n, n ~ N(0, I), for every weight tensor with four dimensions; biases and
        normalisations stay as they are. With the gradient step before it, this is stochastic
        gradient Langevin dynamics, and late iterates are samples of a posterior. Noise comes from
        the image's own random stream, so that it is the same whether the image is fitted alone or
        in a batch.
    Args:
        std: at least 0; twice the step size in GP-DIP, 0.02.
    Raises:
        ValueError: If ``std`` is negative or not finite.
    References:
        Cheng et al. (2019), A Bayesian Perspective on the Deep Image Prior, arXiv:1904.07457.
    """

    def __init__(self, std: float) -> None:
        if not (math.isfinite(std) and std >= 0):
            raise ValueError(f"std must be finite and at least 0, got {std}")
        self.std = std

    def on_update_end(self, state: FitState) -> None:
        """Perturb the convolutions of every active image."""
        for weight in state.weights.values():
            if weight.ndim == 5:  # (A, out, in, height, width)
                weight.add_(self.std * state.draw(weight))


class PosteriorMean(FitCallback):
    """Return the mean of late reconstructions, and show how much they differ.

    Model:
        The mean of x_hat over the steps after ``burn_in`` that are multiples of ``every``; until
        the first of them, the output is left as it is. Their standard deviation, of each pixel and
        channel, is the picture ``posterior_std``: it tells where the fit is uncertain.
    Shape:
        Reads ``x_hat`` and writes ``output``, (A, C, H, W).
    Args:
        burn_in: number of first steps left out of the mean, at least 0; 7000 in GP-DIP.
        every: steps from one sample to the next, at least 1; 50 in GP-DIP.
    Raises:
        ValueError: If an argument is outside the range given here.
    Cost: two copies of each image.
    References:
        Cheng et al. (2019), A Bayesian Perspective on the Deep Image Prior, arXiv:1904.07457.
    """

    def __init__(self, *, burn_in: int, every: int) -> None:
        if burn_in < 0 or every < 1:
            raise ValueError(f"need burn_in >= 0 and every >= 1, got {burn_in} and {every}")
        self.burn_in, self.every = burn_in, every
        self._mean, self._squares, self._count = torch.empty(0), torch.empty(0), torch.empty(0)

    def on_reconstruction_start(self, state: FitState) -> None:
        """Reset the samples."""
        self._mean, self._squares = (torch.zeros_like(state.output) for _ in range(2))
        self._count = state.output.new_zeros(len(state.output), 1, 1, 1)

    def on_step_end(self, state: FitState) -> None:
        """Take a sample if one is due and the loss is finite; output the mean of all so far."""
        if state.step <= self.burn_in:
            return
        rows = active_rows(state)
        if state.step % self.every == 0:
            usable = torch.isfinite(state.loss)[:, None, None, None]
            self._count[rows] += usable
            before = self._mean[rows]
            change = torch.where(usable, state.x_hat - before, 0.0)
            mean = before + change / self._count[rows].clamp(min=1)
            self._mean[rows] = mean
            self._squares[rows] += change * torch.where(usable, state.x_hat - mean, 0.0)
        state.output[rows] = torch.where(
            self._count[rows] > 0, self._mean[rows], state.output[rows]
        )

    def on_reconstruction_end(self, state: FitState) -> None:
        """Show the standard deviation, where every image has two samples; tell if one has none."""
        if not bool((self._count > 0).all()):
            LOG.warning(
                "no sample was taken: the first is due at step %d; give callbacks.mean.burn_in=, "
                "or more steps", self.every * (self.burn_in // self.every + 1),
            )  # fmt: skip
        if bool((self._count > 1).all()):
            variance = self._squares / (self._count - 1).clamp(min=1)
            state.pictures["posterior_std"] = variance.clamp(min=0).sqrt()
