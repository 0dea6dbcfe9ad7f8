"""Where an image fits best: windows of a larger one, and the centre of a kernel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from metadip.physics.kernel_blur import convolve


@dataclass(frozen=True)
class BestWindow:
    """Read an image that is known up to a shift: its window of a size that fits the truth best.

    Without a truth, the window in its centre.

    Args:
        height: of the window.
        width: of the window.
    """

    height: int
    width: int

    def __call__(self, x_hat: Tensor, x: Tensor | None) -> Tensor:
        """Return the windows of images (B, C, H, W)."""
        top, left = ((n - m) // 2 for n, m in zip(x_hat.shape[-2:], self._size, strict=True))
        if x is not None:
            top, left = best_offset(x_hat, x.to(x_hat))
        return x_hat[..., top : top + self.height, left : left + self.width]

    @property
    def _size(self) -> tuple[int, int]:
        return self.height, self.width


def best_offset(x_hat: Tensor, x: Tensor) -> tuple[int, int]:
    """Return row and column of the window of ``x_hat`` that is nearest to ``x``.

    Model:
        argmin over windows w of ||w - x||^2 = ||w||^2 - 2 <w, x> + ||x||^2, for all at once by FFT.
    Shape:
        (1, C, H, W) and (1, C, h, w) with h <= H and w <= W.
    """
    large, small = x_hat.detach().double(), x.detach().double()
    flipped = small.flip(-1, -2)
    energy = convolve(large.square(), torch.ones_like(flipped))
    errors = (energy - 2 * convolve(large, flipped)).sum(dim=(0, 1))
    row, column = divmod(int(errors.argmin()), errors.shape[1])
    return row, column


def off_centre(k: Tensor) -> tuple[int, int]:
    """Return how far the mass of a kernel lies below and right of its middle, in whole pixels.

    Shape:
        (1, 1, h, w) with odd sides.
    Example:
        >>> k = torch.zeros(1, 1, 5, 5); k[..., 4, 1] = 1.0
        >>> off_centre(k)
        (2, -1)
    """
    mass = k.detach().double()[0, 0]
    total = mass.sum()
    found = []
    for axis in (0, 1):
        places = torch.arange(mass.shape[axis], dtype=mass.dtype, device=mass.device)
        centre = (mass.sum(1 - axis) * places).sum() / total
        found.append(round(float(centre)) - (mass.shape[axis] - 1) // 2)
    return found[0], found[1]


def moved(k: Tensor, down: int, right: int) -> Tensor:
    """Return an image (..., h, w) moved by whole pixels; zeros come in."""
    height, width = k.shape[-2:]
    padded = F.pad(k, (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)))
    top, left = max(-down, 0), max(-right, 0)
    return padded[..., top : top + height, left : left + width]


def windowed(x: Tensor, top: int, left: int, size: tuple[int, int]) -> Tensor:
    """Return a window of an image, whose border is repeated where the window leaves it."""
    height, width = x.shape[-2:]
    rows = torch.arange(top, top + size[0], device=x.device).clamp(0, height - 1)
    columns = torch.arange(left, left + size[1], device=x.device).clamp(0, width - 1)
    return x[..., rows[:, None], columns]


def similarity(k: Tensor, other: Tensor) -> float:
    """Return how alike two kernels are, 0 to 1: the largest normalised product over all shifts.

    Shape:
        (1, 1, h, w) each, of any two sizes.
    References:
        Hu and Yang (2012), Good Regions to Deblur (the measure).
    """
    room = tuple(n - 1 for n in other.shape[-2:])
    padded = F.pad(k.double(), (room[1], room[1], room[0], room[0]))
    products = convolve(padded, other.double().to(k.device).flip(-1, -2))
    return float(products.max() / (k.double().norm() * other.double().norm()))
