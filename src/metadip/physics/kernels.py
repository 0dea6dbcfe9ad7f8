"""Blur kernels of odd sides and sum 1, drawn on the CPU."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from deepinv.physics.functional import gaussian_blur
from deepinv.physics.generator import MotionBlurGenerator
from torch import Tensor

GAUSSIAN_RADIUS = 3  # standard deviations at which a Gaussian is cut
SUBPIXELS = 9  # points per pixel and axis that tell how much of a pixel a disk covers


def gaussian_kernel(std_px: float) -> Tensor:
    """Return an isotropic Gaussian (h, h), cut at three standard deviations."""
    side = 2 * math.ceil(GAUSSIAN_RADIUS * std_px) + 1
    kernel: Tensor = gaussian_blur((side, side), sigma=(std_px, std_px))
    return _normalised(kernel[0, 0])


def disk_kernel(diameter_px: float) -> Tensor:
    """Return a disk (h, h) as a lens out of focus makes it; pixels on its rim count in part."""
    side = 2 * math.ceil((diameter_px - 1) / 2) + 1
    points = (torch.arange(side * SUBPIXELS) + 0.5) / SUBPIXELS - side / 2
    inside = torch.hypot(points[:, None], points) <= diameter_px / 2
    return _normalised(F.avg_pool2d(inside[None].float(), SUBPIXELS)[0])


def motion_kernel(size_px: int, *, seed: int) -> Tensor:
    """Return the trajectory of a shaking camera (h, h), see deepinv's ``MotionBlurGenerator``."""
    generator = torch.Generator().manual_seed(seed)
    kernel = MotionBlurGenerator((size_px, size_px), rng=generator).step()["filter"]
    return _normalised(kernel[0, 0])


def _normalised(kernel: Tensor) -> Tensor:
    return kernel / kernel.sum()
