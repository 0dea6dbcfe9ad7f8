"""Average the reconstructions of successive steps."""

from __future__ import annotations

import torch

from metadip.callbacks.base import FitCallback, active_rows
from metadip.types import FitState


class OutputEMA(FitCallback):
    """Return an exponential moving average of the reconstructions instead of the last one.

    Model:
        m_t = decay m_{t-1} + (1 - decay) x_hat_t, m_0 = 0, over t = 1, 2, ... reconstructions. The
        output is m_t / (1 - decay^t), a weighted mean of the reconstructions so far, or m_t
        itself, which is dark for about the first 3 / (1 - decay) steps.
    Shape:
        Reads ``x_hat`` and writes ``output``, (A, C, H, W).
    Args:
        decay: weight of the past, in [0, 1); 0.99 in the deep image prior.
        bias_correction: divide by 1 - decay^t; False is the zero-started form of the papers.
    Raises:
        ValueError: If ``decay`` is outside [0, 1).
    Cost: one copy of each image.
    References: Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925.
    """

    def __init__(self, decay: float, *, bias_correction: bool) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay, self.bias_correction = decay, bias_correction
        self._mean = torch.empty(0)
        self._count = 0

    def on_reconstruction_start(self, state: FitState) -> None:
        """Start from zero."""
        self._mean, self._count = torch.zeros_like(state.output), 0

    def on_step_end(self, state: FitState) -> None:
        """Average; if the loss is not finite, continue from the output, the last good average."""
        self._count += 1
        rows = active_rows(state)
        weight = 1 - self.decay**self._count if self.bias_correction else 1.0
        usable = torch.isfinite(state.loss)[:, None, None, None]
        mean = torch.lerp(state.x_hat, self._mean[rows], self.decay)
        mean = torch.where(usable, mean, weight * state.output[rows])
        self._mean[rows] = mean
        state.output[rows] = mean / weight
