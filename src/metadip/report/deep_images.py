"""Reconstructions of images of more than 8 bits, as TIFF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from metadip.files import atomic_path
from metadip.types import InverseProblem

DEEP = 65535.0
GRID = 0.01  # distance from whole steps; float32 rounding of 16-bit values is below 0.004


def save_deep_image(path: str | Path, x: Tensor, *, bits: int) -> None:
    """Save an image as a TIFF of 16 bits, clipped to [0, 1], or of 32-bit floats as they are.

    Shape:
        (C, H, W) or (1, C, H, W).
    Raises:
        UserError: If the file cannot be written.
    """
    import tifffile  # brought by scikit-image

    pixels = x.detach().reshape(x.shape[-3:]).float().cpu().numpy()
    if bits == 16:
        pixels = (DEEP * pixels.clip(0, 1)).round().astype(np.uint16)
    colour = len(pixels) == 3
    pixels = np.moveaxis(pixels, 0, -1) if colour else pixels[0] if len(pixels) == 1 else pixels
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, pixels, photometric="rgb" if colour else "minisblack")


def depth_of(problem: InverseProblem) -> int:
    """Return the bits per value of the image that a problem came from: 8, 16 or 32 (floats).

    It is told by the values of the truth, or without one of a measurement of its shape: those of
    an 8-bit file are whole multiples of 1 / 255. Simulated problems whose images were resized, and
    measurements that are no images, count as 8-bit.
    """
    if problem.x is None and tuple(problem.y.shape[1:]) != problem.image_shape:
        return 8
    values = problem.y if problem.x is None else problem.x
    for bits, most in ((8, 255.0), (16, DEEP)):
        steps = most * values.double()
        if bool(((steps - steps.round()).abs() < GRID).all()):
            return bits
    return 32 if problem.x is None else 8
