"""Record the PSNR against the truth, for reports only."""

from __future__ import annotations

import torch
from torch import Tensor

from metadip.callbacks.base import FitCallback, active_rows
from metadip.metrics import psnr_db
from metadip.types import FitState


class OraclePSNR(FitCallback):
    """Record how close each step comes to the ground truth; it changes nothing.

    Order matters: after ``OutputEMA`` the curve ``psnr_db`` is that of the averaged output; after a
    stopping rule, its last point is that of the iterate which a stopped image returns.
    ``psnr_raw_db`` is always that of ``x_hat``.

    Shape:
        Reads ``output`` and ``x_hat`` (A, C, H, W). After the fit ``best_psnr_db`` and
        ``best_steps`` (N,) give the peak of ``psnr_db``; NaN and -1 without a truth. They tell of
        the latest fit; for the curves of a ``FitResult`` use ``peak_of_curve``.
    """

    def __init__(self) -> None:
        self.best_psnr_db = torch.empty(0)
        self.best_steps = torch.empty(0, dtype=torch.int64)

    def on_reconstruction_start(self, state: FitState) -> None:
        """Collect the truths; NaN where there is none."""
        unknown = torch.full_like(state.output[:1], torch.nan)
        self._truths = torch.cat(
            [unknown if p.x is None else p.x.to(unknown) for p in state.problems]
        )

    def on_step_end(self, state: FitState) -> None:
        """Record both curves."""
        rows = active_rows(state)
        state.record("psnr_db", psnr_db(state.output[rows], self._truths[rows]))
        state.record("psnr_raw_db", psnr_db(state.x_hat, self._truths[rows]))

    def on_reconstruction_end(self, state: FitState) -> None:
        """Find the peaks."""
        self.best_psnr_db, self.best_steps = peak_of_curve(state.curves["psnr_db"])


def peak_of_curve(curve: Tensor) -> tuple[Tensor, Tensor]:
    """Return the highest value of each curve and its step, ignoring NaN.

    Shape:
        (..., T) -> two tensors (...); NaN and -1 where a curve has no value.
    Example:
        >>> peak_of_curve(torch.tensor([1.0, 3.0, torch.nan]))
        (tensor(3.), tensor(1))
    """
    empty = curve.isnan().all(dim=-1)
    values, steps = curve.nan_to_num(-torch.inf, torch.inf, -torch.inf).max(dim=-1)
    return values.masked_fill(empty, torch.nan), steps.masked_fill(empty, -1)
