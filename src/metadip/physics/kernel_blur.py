"""Blur by a kernel that may be given anew at each call, for problems that do not know it."""

from __future__ import annotations

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor


class KernelBlur(LinearPhysics):
    """Blur an image and keep what it determines: the valid part of the convolution y = k * x.

    Both ways by FFT, which takes less time from kernels of 5 px on, 10 times less at 27 px
    (``benchmarks/two_unknowns.py``).

    Shape:
        ``A``: (B, C, H, W) -> (B, C, H - h + 1, W - w + 1). ``A_adjoint``: back. Kernels: (1, 1, h,
        w), or (B, 1, h, w), one for each image and all of its channels.
    Args:
        filter: the kernel (1, 1, h, w) of calls that give none; of a simulated measurement the true
            one, otherwise a single 1.
    Raises:
        ValueError: When called, if the kernel is larger than the image.
    """

    filter: Tensor

    def __init__(self, filter: Tensor) -> None:
        super().__init__()
        self.register_buffer("filter", filter)

    def A(self, x: Tensor, filter: Tensor | None = None, **_: object) -> Tensor:
        """Return the valid part of k * x."""
        return convolve(x, self.filter if filter is None else filter)

    def A_adjoint(self, y: Tensor, filter: Tensor | None = None, **_: object) -> Tensor:
        """Return the correlation of y, surrounded by zeros, with k."""
        return correlate(y, self.filter if filter is None else filter)


def convolve(x: Tensor, k: Tensor) -> Tensor:
    """Return the valid part of the convolution of images with kernels, see ``KernelBlur``."""
    size, sides = _sizes(x.shape[-2:], k.shape[-2:])
    spectrum = torch.fft.rfft2(x, s=size) * torch.fft.rfft2(k, s=size)
    y: Tensor = torch.fft.irfft2(spectrum, s=size)
    return y[..., k.shape[-2] - 1 : sides[0], k.shape[-1] - 1 : sides[1]]


def correlate(y: Tensor, k: Tensor) -> Tensor:
    """Return the adjoint of ``convolve``."""
    down, right = k.shape[-2] - 1, k.shape[-1] - 1
    size, sides = _sizes((y.shape[-2] + down, y.shape[-1] + right), k.shape[-2:])
    placed = torch.nn.functional.pad(y, (right, 0, down, 0))
    spectrum = torch.fft.rfft2(placed, s=size) * torch.fft.rfft2(k, s=size).conj()
    x: Tensor = torch.fft.irfft2(spectrum, s=size)
    return x[..., : sides[0], : sides[1]]


def fast_side(side: int) -> int:
    """Return the next size of at least ``side`` whose only prime factors are 2, 3 and 5.

    Example:
        >>> [fast_side(side) for side in (1, 7, 97, 128)]
        [1, 8, 100, 128]
    """
    while True:
        left = side
        for prime in (2, 3, 5):
            while left % prime == 0:
                left //= prime
        if left == 1:
            return side
        side += 1


def _sizes(
    image: tuple[int, ...] | torch.Size, kernel: torch.Size
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the size of the transforms, and that of the image."""
    height, width = image
    if kernel[0] > height or kernel[1] > width:
        raise ValueError(
            f"a kernel of {kernel[0]} x {kernel[1]} px does not fit in an image of "
            f"{height} x {width} px"
        )
    return (fast_side(height), fast_side(width)), (height, width)
