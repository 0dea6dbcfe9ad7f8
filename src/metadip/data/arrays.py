"""Images as arrays: ``.npy`` files, TIFF of more than 8 bits, and where their channels are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_8_BIT, MAX_12_BIT, MAX_16_BIT = 255.0, 4095.0, 65535.0
MAX_CHANNELS = 4
LOG = logging.getLogger(__name__)


def deep_tiff_shape(path: Path) -> tuple[int, int, int] | None:
    """Return (C, H, W) of a TIFF that Pillow does not read, None for other TIFF.

    They are those in colour of more than 8 bits, and grey ones of floats other than float32.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        bits = np.max(page.bitspersample)
        odd_floats = page.dtype is not None and page.dtype.kind == "f" and bits != 32
        if bits <= 8 or (page.samplesperpixel < 3 and not odd_floats):
            return None
        channels = 3 if page.samplesperpixel >= 3 else 1
        return channels, int(page.imagelength), int(page.imagewidth)


def decode_deep_tiff(path: Path) -> Tensor:
    """Decode a TIFF that ``deep_tiff_shape`` knows."""
    import tifffile  # brought by scikit-image

    pixels = tifffile.imread(path, key=0)
    scaled = as_channels(as_intensities(pixels, str(path)), str(path))[:3]
    tell_12_bits(path, pixels.dtype.kind in "ui", scaled)
    return torch.from_numpy(np.ascontiguousarray(scaled))


def load_array(path: Path) -> NDArray[np.float32]:
    """Return an array of a ``.npy`` file as (C, H, W), integers scaled to [0, 1]."""
    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    scaled = as_channels(as_intensities(pixels, str(path)), str(path))
    tell_12_bits(path, pixels.dtype == np.uint16, scaled)
    return scaled


def as_intensities(pixels: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Return integers divided by the largest that they can be, anything else as it is.

    Those of more than two bytes, NumPy's own among them, are taken to be of 8 or 16 bits if no
    value is larger, which is told in the log.

    Raises:
        ValueError: If the values are no real numbers.
    """
    if pixels.dtype.kind not in "uifb":
        raise ValueError(f"an image cannot have values of type {pixels.dtype}")
    if pixels.dtype.kind not in "ui":
        return pixels.astype(np.float32)
    largest = float(np.iinfo(pixels.dtype).max)
    if pixels.dtype.itemsize > 2 and pixels.size and pixels.max() <= MAX_16_BIT:
        largest = MAX_8_BIT if pixels.max() <= MAX_8_BIT else MAX_16_BIT
        LOG.info("'%s' of type %s is read as 0 to %.0f", name, pixels.dtype, largest)
    return (pixels / np.float64(largest)).astype(np.float32)


def as_channels(pixels: NDArray[Any], name: str) -> NDArray[Any]:
    """Return (H, W), (C, H, W) or (H, W, C) as (C, H, W); the last one is told in the log.

    The channels come last if the last side alone is at most 4.

    Raises:
        ValueError: If the array has another number of dimensions.
    """
    if pixels.ndim == 2:
        return pixels[None]
    if pixels.ndim != 3:
        raise ValueError(f"an image has 2 or 3 dimensions, not {pixels.ndim}")
    if pixels.shape[-1] <= MAX_CHANNELS < pixels.shape[0]:
        LOG.info("'%s' of shape %s is read as (H, W, C)", name, pixels.shape)
        return pixels.transpose(2, 0, 1)
    return pixels


def tell_12_bits(path: Path, integers: bool, values: NDArray[Any]) -> None:
    """Tell of a 16-bit file that holds no more than 12 bits."""
    if integers and 0 < values.max() * MAX_16_BIT <= MAX_12_BIT + 0.5:
        LOG.warning(
            "'%s' has 16 bits and no value above %.0f: if it was taken with 12, multiply it by 16",
            path,
            values.max() * MAX_16_BIT,
        )
