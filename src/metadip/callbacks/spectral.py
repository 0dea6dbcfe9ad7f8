"""Spectral control: stop where an image stops getting sharper, and tell what has been fitted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metadip.callbacks.base import FitCallback, active_rows
from metadip.types import FitState, UserError

BLUR_PX = 9  # side of the box filter of the blur metric [Crete et al.]
SHARPEST, SHARPNESS_DECAY = 1000, 0.01  # values that count, and how fast their weight falls
TINY = 1e-12


class BlurToSharpness(FitCallback):
    """Stop each image once the ratio of its blur to its sharpness has settled.

    Model:
        r_k = blur(x_hat_k) / sharpness(x_hat_k). While a network of bounded spectral norms learns,
        r falls, and it settles once nothing sharper can be learned. The fit stops at the first
        step k > 2 window at which the mean of r over the last ``window`` steps and that over the
        ``window`` steps before differ by less than ``tolerance``. No ground truth is used.
    Shape:
        Reads ``x_hat`` (A, C, H, W); records ``blur_to_sharpness``.
    Args:
        window: in steps, at least 1; 100 in the authors' code.
        tolerance: above 0; 0.01 in the authors' code.
    Raises:
        ValueError: If an argument is out of range.
    References:
        Shi et al. (2022), On Measuring and Controlling the Spectral Bias of the Deep Image Prior,
        arXiv:2107.01125.
    """

    def __init__(self, *, window: int, tolerance: float) -> None:
        if window < 1 or not tolerance > 0:
            raise ValueError(f"need window >= 1 and tolerance > 0, got {window} and {tolerance}")
        self.window, self.tolerance = window, tolerance

    def on_reconstruction_start(self, state: FitState) -> None:
        """Forget the previous fit."""
        self._ratios: list[Tensor] = []

    def on_step_end(self, state: FitState) -> None:
        """Record the ratio, and stop the images whose ratio has settled."""
        ratio = blur(state.x_hat) / sharpness(state.x_hat).clamp(min=TINY)
        state.record("blur_to_sharpness", ratio)
        everyone = ratio.new_full((len(state.problems),), torch.nan)
        everyone[active_rows(state)] = ratio
        self._ratios = [*self._ratios, everyone][-2 * self.window :]
        if state.step <= 2 * self.window:
            return
        ratios = torch.stack(self._ratios)[:, active_rows(state)]
        before, after = ratios[: self.window].mean(dim=0), ratios[self.window :].mean(dim=0)
        reason = (
            f"blur over sharpness has changed by less than {self.tolerance:g} "
            f"in {self.window} steps"
        )
        state.stop((before - after).abs() < self.tolerance, reason)


class FrequencyBands(FitCallback):
    """Record how much of each band of frequencies of the measurement has been fitted.

    Model:
        The mean of clip(|F x_hat| / |F y|, 0, 1) over five rings of spatial frequency, of equal
        width up to the corner of the spectrum; F is the discrete Fourier transform, y the
        measurement. It serves tasks whose measurement is an image of the size of x.
    Shape:
        Reads ``x_hat`` (A, C, H, W); records ``band_1``, the lowest, to ``band_5``.
    Raises:
        UserError: When a fit begins, if a measurement is no such image.
    References: see ``BlurToSharpness``.
    """

    def on_reconstruction_start(self, state: FitState) -> None:
        """Transform the measurements."""
        for problem in state.problems:
            if problem.y.shape[1:] != problem.image_shape:
                raise UserError(
                    f"callbacks=bands needs a measurement that is an image {problem.image_shape}, "
                    f"got {tuple(problem.y.shape[1:])}"
                )
        y = torch.cat([problem.y for problem in state.problems])
        self._target = torch.fft.fft2(y).abs().clamp(min=TINY)
        self._ring = rings(y.shape[-2], y.shape[-1]).to(y.device)

    def on_step_end(self, state: FitState) -> None:
        """Record the share of each band."""
        fitted = torch.fft.fft2(state.x_hat).abs() / self._target[active_rows(state)]
        fitted = fitted.clamp(0, 1).mean(dim=1)
        for ring in range(N_RINGS):
            state.record(f"band_{ring + 1}", fitted[:, self._ring == ring].mean(dim=1))


N_RINGS = 5


def rings(height: int, width: int) -> Tensor:
    """Return the ring 0 to 4 of each frequency, (H, W), in the order of ``torch.fft.fft2``."""
    rows, columns = (torch.fft.fftfreq(n).abs() / 0.5 for n in (height, width))
    radius = torch.hypot(rows[:, None], columns[None]) / 2**0.5
    return (radius * N_RINGS).long().clamp(max=N_RINGS - 1)


def blur(x: Tensor) -> Tensor:
    """Return how little an image loses by blurring it, 0 (sharp) to 1, of the worse direction.

    Model:
        1 - sum max(0, D - D_b) / sum D, D the absolute differences of neighbours of the image in
        grey, D_b those after a box filter of 9 px along the direction.
    Shape:
        (B, C, H, W) -> (B,).
    References: Crete et al. (2007), The Blur Effect, doi:10.1117/12.702790.
    """
    grey = x.mean(dim=1, keepdim=True)
    return torch.maximum(_blur_along(grey), _blur_along(grey.transpose(2, 3)))


def _blur_along(grey: Tensor) -> Tensor:
    """Return the blur along columns of (B, 1, H, W)."""
    padded = F.pad(grey, (0, 0, BLUR_PX // 2, BLUR_PX // 2), mode="replicate")
    smooth = F.avg_pool2d(padded, (BLUR_PX, 1), stride=1)
    own, less = grey.diff(dim=2).abs(), smooth.diff(dim=2).abs()
    lost = (own - less).clamp(min=0).flatten(1).sum(dim=1)
    return 1 - lost / own.flatten(1).sum(dim=1).clamp(min=TINY)


def sharpness(x: Tensor) -> Tensor:
    """Return the weighted root mean square of the largest local variations of an image in grey.

    Model:
        The local variation of a pixel is its largest absolute difference from its 8 neighbours; the
        1000 largest count, the k-th with exp(-0.01 k).
    Shape:
        (B, C, H, W) -> (B,).
    References: Bahrami and Kot (2014), Maximum Local Variation, doi:10.1109/LSP.2014.2314487.
    """
    grey = x.mean(dim=1, keepdim=True)
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    height, width = grey.shape[-2:]
    shifts = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    variations = torch.stack(
        [(padded[..., i : i + height, j : j + width] - grey).abs() for i, j in shifts]
    ).amax(dim=0)
    largest = variations.flatten(1).sort(dim=1, descending=True).values[:, :SHARPEST]
    ranks = torch.arange(largest.shape[1], dtype=x.dtype, device=x.device)
    weighted = largest * torch.exp(-SHARPNESS_DECAY * ranks)
    return weighted.square().mean(dim=1).sqrt()
