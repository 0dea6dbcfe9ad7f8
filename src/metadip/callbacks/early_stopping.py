"""Stop a fit where the variance of its recent reconstructions is lowest: ES-WMV and ES-EMV."""

from __future__ import annotations

import torch
from torch import Tensor

from metadip.callbacks.base import FitCallback, active_rows
from metadip.callbacks.selection import BestSoFar
from metadip.seeding import Stream, generator_of
from metadip.types import FitState


class ESWMV(FitCallback):
    """Stop each image when its windowed moving variance rises, and return the iterate before.

    Model:
        v_t = (1/W) sum_w mean_pixels (x_w - mean_W)^2 over the last W reconstructions, from step
        W - 1 on. v_t falls while structure is fitted and rises once noise is. The fit stops after
        ``patience`` steps without a strictly lower v_t. It returns x_hat at the minimum, also when
        the steps run out. No ground truth is used. W v_t is the sum of squares minus |sum|^2 / W,
        in float64; every W steps the sum is replaced by one that was never subtracted from, so
        that rounding errors do not grow.
    Shape:
        Reads ``x_hat`` (A, C, H, W). Records ``variance`` and ``chosen_step``; ``best_steps`` (N,)
        holds the chosen step of the current fit, -1 where there is none.
    Args:
        window: W, in steps, at least 2; 100 in the authors' code.
        patience: in steps, at least 1; 1000 in the authors' code.
        min_start: first step that may be the minimum, at least 0; guards against a false dip
            before content is learned.
        max_pixels: number of pixels to compute v_t from, in all channels, at least 1, drawn once
            from each image's own seed; None, or more than there are, uses all, as the authors do.
        magnitude: judge complex images, of two channels, by their magnitude.
    Raises:
        ValueError: If ``window < 2``, ``patience < 1``, ``min_start < 0`` or ``max_pixels < 1``.
    Cost:
        W + 10 copies of the pixels used (W = 100, 3 x 512 x 512 float32: 346 MB for each image)
        and one of the image.
    References:
        Wang et al. (2021), Early Stopping for Deep Image Prior, arXiv:2112.06074.
    """

    def __init__(
        self,
        window: int,
        patience: int,
        *,
        min_start: int,
        max_pixels: int | None = None,
        magnitude: bool = False,
    ) -> None:
        if window < 2:
            raise ValueError(f"window must be at least 2 steps, got {window}")
        check_steps(patience, min_start)
        if max_pixels is not None and max_pixels < 1:
            raise ValueError(f"max_pixels must be at least 1 or None, got {max_pixels}")
        self.window, self.patience, self.min_start = window, patience, min_start
        self.max_pixels, self.magnitude = max_pixels, magnitude
        self.best_steps = torch.empty(0, dtype=torch.int64)

    def on_reconstruction_start(self, state: FitState) -> None:
        """Forget the previous fit, and draw the pixels to use."""
        self._best = BestSoFar(state)
        self.best_steps, self._count = self._best.steps, 0
        n, channels, height, width = state.output.shape
        channels = 1 if self.magnitude else channels
        self._places: tuple[Tensor, Tensor] | None = None
        n_pixels = height * width
        if self.max_pixels is not None and self.max_pixels < n_pixels:
            drawn = [_draw_pixels(p.seed, n_pixels, self.max_pixels) for p in state.problems]
            chosen = torch.stack(drawn).to(state.output.device)
            self._places = chosen // width, chosen % width
            n_pixels = self.max_pixels
        self._frames = state.output.new_zeros(n, self.window, channels * n_pixels)
        self._squares = self._frames.new_zeros(n, self.window, dtype=torch.float64)
        self._total = torch.zeros_like(self._frames[:, 0], dtype=torch.float64)
        self._fresh = torch.zeros_like(self._total)
        self._restarts: dict[int, int] = {}

    def on_step_end(self, state: FitState) -> None:
        """Add the newest reconstruction to the window, and update the choice."""
        self._restarts |= dict.fromkeys(state.taken_back, state.step)
        variance = hide_restarted(state, self._variance(state), self._restarts, self.window - 1)
        state.record("variance", variance)
        if state.step >= self.min_start:
            self._best.update(state, variance, lambda: state.x_hat)
            self._best.stop_stale(state, patience=self.patience, rule="ES-WMV", score="variance")

    def on_reconstruction_end(self, state: FitState) -> None:
        """Return the chosen iterates, and free the memory of the window."""
        self._best.write(state)
        del self._frames, self._squares, self._total, self._fresh, self._places, self._best

    def _judged(self, state: FitState) -> Tensor:
        """Return the values (A, P) that v_t is computed from."""
        seen = state.x_hat
        if self.magnitude:
            seen = seen.square().sum(1, keepdim=True).sqrt()
        if self._places is None:
            return seen.flatten(1)
        rows, (y, x) = active_rows(state), self._places
        images = torch.arange(len(seen), device=seen.device)[:, None]
        return seen[images, :, y[rows], x[rows]].flatten(1)

    def _variance(self, state: FitState) -> Tensor:
        """Return v_t (A,), NaN until the window is full."""
        rows, slot = active_rows(state), self._count % self.window
        frame = self._judged(state)
        new, old = frame.double(), self._frames[rows, slot].to(torch.float64, copy=True)
        self._frames[rows, slot] = frame
        self._squares[rows, slot] = _sum_of_squares(new)
        self._total[rows] += new - old
        self._fresh[rows] += new
        self._count += 1
        if self._count % self.window == 0:  # the fresh sum holds exactly this window
            self._total, self._fresh = self._fresh, torch.zeros_like(self._fresh)
        if self._count < self.window:
            return new.new_full((len(new),), torch.nan)
        spread = self._squares[rows].sum(dim=1) - _sum_of_squares(self._total[rows]) / self.window
        return spread.clamp(min=0) / (self.window * new.shape[1])


class ESEMV(FitCallback):
    """Stop each image when its exponential moving variance rises, and return the mean before.

    Model:
        m_0 = x_0, v_0 = 0; with d = x_t - m_{t-1}: m_t = clip(m_{t-1} + alpha d, 0, 1) and
        v_t = (1 - alpha) (v_{t-1} + alpha ||d||^2), summed over all pixels. The fit stops after
        ``patience`` steps without a strictly lower v_t. It returns the mean m_t at the minimum,
        also when the steps run out. Cheap: no window is kept.
    Shape:
        Reads ``x_hat`` (A, C, H, W). Records ``variance`` (NaN at step 0) and ``chosen_step``;
        ``best_steps`` (N,) holds the chosen step of the current fit, -1 where there is none.
    Args:
        alpha: weight of the newest reconstruction, in (0, 1); 0.1 in the authors' code.
        patience: in steps, at least 1; 1000 in the authors' code.
        min_start: first step that may be the minimum, at least 0. v_t starts at zero and means
            nothing until several times 1 / alpha steps have passed; the authors begin after step
            100.
    Raises:
        ValueError: If ``alpha`` is outside (0, 1), ``patience < 1`` or ``min_start < 0``.
    Cost: three copies of every image.
    References:
        Wang et al. (2021), Early Stopping for Deep Image Prior, arXiv:2112.06074.
    """

    def __init__(self, alpha: float, patience: int, *, min_start: int) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"alpha must be in (0, 1), got {alpha}")
        check_steps(patience, min_start)
        self.alpha, self.patience, self.min_start = alpha, patience, min_start
        self.best_steps = torch.empty(0, dtype=torch.int64)

    def on_reconstruction_start(self, state: FitState) -> None:
        """Forget the previous fit."""
        self._best = BestSoFar(state)
        self.best_steps, self._begun = self._best.steps, False
        self._variance = torch.zeros_like(self._best.scores)
        self._restarts: dict[int, int] = {}

    def on_step_end(self, state: FitState) -> None:
        """Update the mean, the variance and the choice."""
        rows = active_rows(state)
        if not self._begun:
            self._mean, self._begun = state.x_hat.clone(), True
            state.record("variance", torch.full_like(self._variance, torch.nan))
            return
        self._restart(state)
        mean = self._mean[rows]
        delta = state.x_hat - mean
        self._mean[rows] = mean.add_(delta, alpha=self.alpha).clamp_(0, 1)
        change = self.alpha * _sum_of_squares(delta.flatten(1))
        self._variance[rows] = (1 - self.alpha) * (self._variance[rows] + change)
        state.record("variance", self._variance[rows])
        if state.step >= self.min_start:
            variance = hide_restarted(state, self._variance[rows], self._restarts, self.min_start)
            self._best.update(state, variance, lambda: self._mean[rows])
            self._best.stop_stale(state, patience=self.patience, rule="ES-EMV", score="variance")

    def _restart(self, state: FitState) -> None:
        """Restart the averages of images that are taken back."""
        self._restarts |= dict.fromkeys(state.taken_back, state.step)
        for row, image in enumerate(state.active.tolist() if state.taken_back else ()):
            if image in state.taken_back:
                self._mean[image], self._variance[image] = state.x_hat[row], 0.0

    def on_reconstruction_end(self, state: FitState) -> None:
        """Return the chosen means."""
        self._best.write(state)
        del self._mean, self._variance, self._best


def hide_restarted(
    state: FitState, scores: Tensor, restarts: dict[int, int], n_steps: int
) -> Tensor:
    """Return scores (A,), NaN for images that restarted fewer than ``n_steps`` steps ago."""
    if not restarts:
        return scores
    ages = [state.step - restarts.get(i, -n_steps) for i in state.active.tolist()]
    young = torch.tensor(ages, device=scores.device) < n_steps
    return scores.masked_fill(young, torch.nan)


def _draw_pixels(seed: int, n_pixels: int, count: int) -> Tensor:
    """Return the positions of ``count`` different pixels, the same on every device."""
    return torch.randperm(n_pixels, generator=generator_of(seed, Stream.PIXELS))[:count]


def _sum_of_squares(values: Tensor) -> Tensor:
    """Return the sum of squares of each image (A,), in float64."""
    norms: Tensor = torch.linalg.vector_norm(values, dim=1, dtype=torch.float64)
    return norms.square()


def check_steps(patience: int, min_start: int) -> None:
    """Check the step counts of a stopping rule.

    Raises:
        ValueError: If ``patience < 1`` or ``min_start < 0``.
    """
    if patience < 1:
        raise ValueError(f"patience must be at least 1 step, got {patience}")
    if min_start < 0:
        raise ValueError(f"min_start must be at least 0, got {min_start}")
