"""Shrinking images by an integer factor, sampled at the centres of the large pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from metadip.types import UserError

RADIUS = 2  # half the width of both kernels, in pixels of the small image


class Resampling(NamedTuple):
    """A kernel of the distance in pixels of the small image, and how edges are continued."""

    weight: Callable[[Tensor], Tensor]
    inside: Callable[[Tensor, int], Tensor]


def _lanczos2(t: Tensor) -> Tensor:
    return torch.sinc(t) * torch.sinc(t / RADIUS)


def _bicubic(t: Tensor) -> Tensor:
    """Return the cubic of Keys (1981) with a = -1/2."""
    t = t.abs()
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return torch.where(t < 1, near, far)


def _replicated(index: Tensor, size: int) -> Tensor:
    return index.clamp(0, size - 1)


def _mirrored(index: Tensor, size: int) -> Tensor:
    return (index + 0.5 - size).remainder(2 * size).sub(size).abs().sub(0.5).round().long()


RESAMPLINGS = {
    "lanczos2": Resampling(_lanczos2, _replicated),
    "bicubic": Resampling(_bicubic, _mirrored),
}


class SeparableDownsampling(LinearPhysics):
    """Shrink an image by an integer factor with an antialiasing kernel.

    deepinv's ``Downsampling`` samples its kernels of even width half a pixel after the first pixel,
    whatever the factor; images in files were sampled at the centres of the large pixels,
    (factor - 1) / 2 after it.

    Model:
        y = R x C^T for every channel; each row of R and C holds the kernel, stretched by the factor
        and normalised to sum 1, around the centre of a large pixel. lanczos2 repeats the pixels at
        the edge as Ulyanov's downsampler does, bicubic (a = -1/2) mirrors them as ``imresize`` of
        MATLAB does. A flat image keeps its value.
    Shape:
        ``A``: (B, C, H, W) -> (B, C, H / factor, W / factor).
    Args:
        image_shape: (C, H, W).
        factor: how many times smaller y is on each side; it divides H and W.
        kernel: lanczos2 or bicubic.
    Raises:
        UserError: If ``factor`` does not divide H and W.
        KeyError: If ``kernel`` is unknown.
    Cost: (H^2 + W^2) / factor floats, and H W (H + W) / factor products per channel.
    References:
        Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925, and its downsampler.
        Keys (1981), Cubic Convolution Interpolation for Digital Image Processing.
    Example:
        >>> op = SeparableDownsampling((3, 8, 12), factor=4, kernel="lanczos2")
        >>> op.A(torch.ones(2, 3, 8, 12)).shape
        torch.Size([2, 3, 2, 3])
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, image_shape: tuple[int, int, int], *, factor: int, kernel: str) -> None:
        check_divides(factor, image_shape)
        super().__init__(img_size=tuple(image_shape))
        self.factor, self.kernel = factor, kernel
        self.register_buffer("rows", _matrix(image_shape[1], factor, kernel))
        self.register_buffer("columns", _matrix(image_shape[2], factor, kernel))

    def A(self, x: Tensor, **_: object) -> Tensor:
        """Return the small image."""
        return self.rows @ x @ self.columns.T

    def A_adjoint(self, y: Tensor, **_: object) -> Tensor:
        """Return R^T y C."""
        return self.rows.T @ y @ self.columns


def check_divides(factor: int, image_shape: tuple[int, int, int]) -> None:
    """Check that both sides of an image are multiples of a factor.

    Raises:
        UserError: If one of them is not.
    """
    height, width = image_shape[1:]
    if height % factor or width % factor:
        sides = f"{width - width % factor} x {height - height % factor} px"
        raise UserError(
            f"task.factor={factor} does not divide an image of {width} x {height} px: "
            f"crop it to {sides}, or resize it with image_size="
        )


def _matrix(size: int, factor: int, kernel: str) -> Tensor:
    """Return the matrix (size / factor, size) of one axis, float32 worked out in float64."""
    weight, inside = RESAMPLINGS[kernel]
    centres = torch.arange(size // factor, dtype=torch.float64) * factor + (factor - 1) / 2
    first = (centres - RADIUS * factor).ceil()
    taps = first[:, None] + torch.arange(2 * RADIUS * factor + 1, dtype=torch.float64)
    distances = (taps - centres[:, None]) / factor
    weights = weight(distances) * (distances.abs() < RADIUS)
    weights = weights / weights.sum(1, keepdim=True)
    matrix = torch.zeros(size // factor, size, dtype=torch.float64)
    return matrix.scatter_add_(1, inside(taps, size).long(), weights).float()
