"""Stop a fit where the variance of its recent reconstructions is lowest: ES-WMV and ES-EMV."""

from __future__ import annotations

import torch
from torch import Tensor

from metadip.callbacks.base import FitCallback, active_rows
from metadip.callbacks.selection import BestSoFar
from metadip.types import FitState


class ESWMV(FitCallback):
    """Stop each image when its windowed moving variance rises, and return the iterate before.

    Model:
        v_t = (1/W) sum_w mean_pixels (x_w - mean_W)^2 over the last W reconstructions, from step
        W - 1 on. v_t falls while structure is fitted and rises once noise is. The fit stops when
        ``patience`` steps brought no strictly lower v_t, and returns x_hat of the minimum, as it
        also does when the steps run out. No ground truth is used. W v_t is the sum of squares
        minus |sum|^2 / W; both sums are kept in float64 and replaced every W steps by ones that
        were never subtracted from, so that rounding errors do not grow.
    Shape:
        Reads ``x_hat`` (A, C, H, W). Records ``variance`` and ``chosen_step``; ``best_steps`` (N,)
        holds the chosen step of the present fit, -1 where there is none.
    Args:
        window: W, in steps, at least 2; 100 in the authors' code.
        patience: in steps, at least 1; 1000 in the authors' code.
        min_start: first step that may be the minimum, at least 0; guards against a false dip
            before content is learned.
    Raises:
        ValueError: ``window < 2``, ``patience < 1`` or ``min_start < 0``.
    Cost: W + 6 copies of every image (W = 100, 3 x 512 x 512 float32: 330 MB each).
    References:
        Wang et al. (2021), Early Stopping for Deep Image Prior, arXiv:2112.06074.
    """

    def __init__(self, window: int, patience: int, *, min_start: int) -> None:
        if window < 2:
            raise ValueError(f"window must be at least 2 steps, got {window}")
        _check_steps(patience, min_start)
        self.window, self.patience, self.min_start = window, patience, min_start
        self.best_steps = torch.empty(0, dtype=torch.int64)

    def on_reconstruction_start(self, state: FitState) -> None:
        """Forget the previous fit."""
        self._best = BestSoFar(state)
        self.best_steps, self._count = self._best.steps, 0
        n, n_pixels = len(state.output), state.output[0].numel()
        self._frames = state.output.new_zeros(n, self.window, n_pixels)
        self._sums = _zero_sums(state.output)
        self._fresh = _zero_sums(state.output)

    def on_step_end(self, state: FitState) -> None:
        """Take the newest reconstruction into the window, and judge."""
        variance = self._variance(state)
        state.record("variance", variance)
        if state.step >= self.min_start:
            self._best.update(state, variance, state.x_hat)
            self._best.stop_stale(state, patience=self.patience, rule="ES-WMV")

    def on_reconstruction_end(self, state: FitState) -> None:
        """Return the chosen iterates, and give the window's memory back."""
        self._best.write(state)
        del self._frames, self._sums, self._fresh, self._best

    def _variance(self, state: FitState) -> Tensor:
        """Return v_t (A,), NaN until the window is full."""
        rows, slot = active_rows(state), self._count % self.window
        frame = state.x_hat.flatten(1)
        new, old = frame.double(), self._frames[rows, slot].double()
        self._frames[rows, slot] = frame
        for (total, squares), change, change_of_squares in (
            (self._sums, new - old, new.square() - old.square()),
            (self._fresh, new, new.square()),
        ):
            total[rows] += change
            squares[rows] += change_of_squares.sum(dim=1)
        self._count += 1
        if self._count % self.window == 0:  # the fresh sums hold exactly this window
            self._sums, self._fresh = self._fresh, _zero_sums(state.output)
        if self._count < self.window:
            return new.new_full((len(new),), torch.nan)
        total, squares = self._sums
        spread = squares[rows] - total[rows].square().sum(dim=1) / self.window
        return spread.clamp(min=0) / (self.window * new.shape[1])


class ESEMV(FitCallback):
    """Stop each image when its exponential moving variance rises, and return the mean before.

    Model:
        m_0 = x_0, v_0 = 0; with d = x_t - m_{t-1}: m_t = clip(m_{t-1} + alpha d, 0, 1) and
        v_t = (1 - alpha) (v_{t-1} + alpha ||d||^2), the sum over all pixels. The fit stops when
        ``patience`` steps brought no strictly lower v_t, and returns the mean m_t of the minimum,
        as it also does when the steps run out. Cheap: no window is kept.
    Shape:
        Reads ``x_hat`` (A, C, H, W). Records ``variance`` (NaN at step 0) and ``chosen_step``;
        ``best_steps`` (N,) holds the chosen step of the present fit, -1 where there is none.
    Args:
        alpha: weight of the newest reconstruction, in (0, 1); 0.1 in the authors' code.
        patience: in steps, at least 1; 1000 in the authors' code.
        min_start: first step that may be the minimum, at least 0. v_t starts at zero and says
            nothing until several 1 / alpha steps are made; the authors begin after step 100.
    Raises:
        ValueError: ``alpha`` outside (0, 1), ``patience < 1`` or ``min_start < 0``.
    Cost: two copies of every image.
    References:
        Wang et al. (2021), Early Stopping for Deep Image Prior, arXiv:2112.06074.
    """

    def __init__(self, alpha: float, patience: int, *, min_start: int) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be in (0, 1), got {alpha}")
        _check_steps(patience, min_start)
        self.alpha, self.patience, self.min_start = alpha, patience, min_start
        self.best_steps = torch.empty(0, dtype=torch.int64)

    def on_reconstruction_start(self, state: FitState) -> None:
        """Forget the previous fit."""
        self._best = BestSoFar(state)
        self.best_steps, self._begun = self._best.steps, False
        self._mean = torch.zeros_like(state.output)
        self._variance = torch.zeros_like(self._best.scores)

    def on_step_end(self, state: FitState) -> None:
        """Update mean and variance, and judge."""
        rows = active_rows(state)
        if not self._begun:
            self._mean[rows], self._begun = state.x_hat, True
            state.record("variance", torch.full_like(self._variance[rows], torch.nan))
            return
        delta = state.x_hat - self._mean[rows]
        self._mean[rows] = (self._mean[rows] + self.alpha * delta).clamp(0, 1)
        squares = delta.flatten(1).square().sum(dim=1, dtype=torch.float64)
        self._variance[rows] = (1 - self.alpha) * (self._variance[rows] + self.alpha * squares)
        state.record("variance", self._variance[rows])
        if state.step >= self.min_start:
            self._best.update(state, self._variance[rows], self._mean[rows])
            self._best.stop_stale(state, patience=self.patience, rule="ES-EMV")

    def on_reconstruction_end(self, state: FitState) -> None:
        """Return the chosen means."""
        self._best.write(state)
        del self._mean, self._variance, self._best


def _zero_sums(output: Tensor) -> tuple[Tensor, Tensor]:
    """Return a sum over frames (N, P) and a sum of squares over frames and pixels (N,)."""
    total = torch.zeros_like(output, dtype=torch.float64).flatten(1)
    return total, total.new_zeros(len(total))


def _check_steps(patience: int, min_start: int) -> None:
    """Refuse a stopping rule that could never wait, or start."""
    if patience < 1:
        raise ValueError(f"patience must be at least 1 step, got {patience}")
    if min_start < 0:
        raise ValueError(f"min_start must be at least 0, got {min_start}")
