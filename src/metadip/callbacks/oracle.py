"""Record the PSNR against the ground truth, for reports only."""

from __future__ import annotations

import torch
from torch import Tensor

from metadip.callbacks.base import FitCallback, active_rows
from metadip.metrics import psnr_db
from metadip.types import FitState, InverseProblem


class OraclePSNR(FitCallback):
    """Record how close each step comes to the ground truth; it changes nothing.

    The reading of a reconstruction is compared, see ``InverseProblem.read``.

    Order matters: after ``OutputEMA`` the curve ``psnr_db`` is that of the averaged output; after a
    stopping rule, its last point is that of the iterate that a stopped image returns.
    ``psnr_raw_db`` is always that of ``x_hat``.

    Shape:
        Reads ``output`` and ``x_hat`` (A, C, H, W). After the fit, ``best_psnr_db`` and
        ``best_steps`` (N,) give the peak of ``psnr_db``; NaN and -1 without ground truth. They
        belong to the latest fit; for the curves of a ``FitResult`` use ``peak_of_curve``.
    """

    _truths: Tensor | None

    def __init__(self) -> None:
        self.best_psnr_db = torch.empty(0)
        self.best_steps = torch.empty(0, dtype=torch.int64)

    def on_reconstruction_start(self, state: FitState) -> None:
        """Stack the truths, NaN where there is none; those of readings can differ in shape."""
        self._truths = None
        if all(problem.reading is None for problem in state.problems):
            unknown = torch.full_like(state.output[:1], torch.nan)
            truths = [unknown if p.x is None else p.x.to(unknown) for p in state.problems]
            self._truths = torch.cat(truths)

    def on_step_end(self, state: FitState) -> None:
        """Record both curves."""
        state.record("psnr_db", self._psnr_db(state, state.output[active_rows(state)]))
        state.record("psnr_raw_db", self._psnr_db(state, state.x_hat))

    def _psnr_db(self, state: FitState, images: Tensor) -> Tensor:
        """Return the PSNR of the active images."""
        if self._truths is not None:
            return psnr_db(images, self._truths[active_rows(state)])
        problems = [state.problems[i] for i in state.active.tolist()]
        pairs = zip(problems, images.split(1), strict=True)
        return torch.cat([_reading_psnr_db(problem, image) for problem, image in pairs])

    def on_reconstruction_end(self, state: FitState) -> None:
        """Find the peaks."""
        self.best_psnr_db, self.best_steps = peak_of_curve(state.curves["psnr_db"])


def _reading_psnr_db(problem: InverseProblem, x_hat: Tensor) -> Tensor:
    """Return the PSNR (1,) of the reading of one image, NaN without ground truth."""
    if problem.x is None:
        return x_hat.new_full((1,), torch.nan)
    shown = problem.read(x_hat)
    return psnr_db(shown, problem.x.to(shown))


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
