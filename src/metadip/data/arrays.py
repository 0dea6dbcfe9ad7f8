"""Images as arrays: ``.npy`` files, TIFF of more than 8 bits, and where their channels are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_12_BIT, MAX_16_BIT = 4095.0, 65535.0
MAX_CHANNELS = 4
LOG = logging.getLogger(__name__)


def deep_tiff_shape(path: Path) -> tuple[int, int, int] | None:
    """Return (3, H, W) of a colour TIFF of more than 8 bits, None for other TIFF."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        bits = np.max(page.bitspersample)
        if page.samplesperpixel < 3 or bits <= 8:
            return None
        return 3, int(page.imagelength), int(page.imagewidth)


def decode_deep_tiff(path: Path) -> Tensor:
    """Decode a colour TIFF of 16 bits or floats, which Pillow does not read."""
    import tifffile  # brought by scikit-image

    pixels = tifffile.imread(path, key=0)
    scaled = as_channels(_scaled(pixels), str(path))[:3]
    tell_12_bits(path, pixels.dtype.kind in "ui", scaled)
    return torch.from_numpy(np.ascontiguousarray(scaled))


def load_array(path: Path) -> NDArray[np.float32]:
    """Return an array of a ``.npy`` file as (C, H, W), integers scaled to [0, 1]."""
    return as_channels(_scaled(np.load(path, mmap_mode="r", allow_pickle=False)), str(path))


def _scaled(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Return integers divided by the largest of their type, anything else as it is."""
    if pixels.dtype.kind not in "uifb":
        raise ValueError(f"an image cannot have values of type {pixels.dtype}")
    if pixels.dtype.kind in "ui":
        return (pixels / np.float64(np.iinfo(pixels.dtype).max)).astype(np.float32)
    return pixels.astype(np.float32)


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
