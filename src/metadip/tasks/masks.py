"""Masks of zeros (lost) and ones (kept): random pixels, text, a hole, and files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from metadip.data.images import SUFFIXES, list_files, read_image
from metadip.physics.operators import ImageShape
from metadip.tasks.measurement_file import READERS, MeasurementFile
from metadip.types import UserError

KEPT = "1 where a value of y was observed, 0 where it was lost"
WORDS = "the quick brown fox jumps over the lazy dog and packs five dozen jugs"
LINES = 10  # of text in the height of an image
MIN_FONT_PX = 6


def random_mask(shape: ImageShape, ratio: float, generator: Generator) -> Tensor:
    """Keep each value with probability ``ratio``, and at least one."""
    coins = torch.rand(shape, generator=generator)
    return (coins <= coins.min().clamp(min=ratio)).float()


def hole_mask(shape: ImageShape, ratio: float, generator: Generator) -> Tensor:
    """Lose a rectangle with the proportions of the image anywhere in it, 1 - ratio of its area."""
    mask = torch.ones(shape)
    sides = [round(side * math.sqrt(1 - ratio)) for side in shape[1:]]
    starts = [
        int(torch.randint(side - lost + 1, (), generator=generator))
        for side, lost in zip(shape[1:], sides, strict=True)
    ]
    rows, columns = (slice(a, a + n) for a, n in zip(starts, sides, strict=True))
    mask[:, rows, columns] = 0
    return mask if bool(mask.any()) else random_mask(shape, ratio, generator)


def text_mask(shape: ImageShape, ratio: float, generator: Generator) -> Tensor:
    """Lose what lines of text cover, about a fifth of the image whatever ``ratio`` is."""
    height, width = shape[1:]
    size = max(MIN_FONT_PX, height // LINES)
    canvas = Image.new("1", (width, height), 1)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size)
    words = WORDS.split()
    for top in range(0, height, size):
        order = torch.randperm(len(words), generator=generator).tolist()
        left = -int(torch.randint(4 * size, (), generator=generator))
        line = " ".join(words[i] for i in order)
        pen.text((left, top - size // 8), " ".join([line] * (1 + width // (size * 8))), 0, font)
    mask = torch.from_numpy(np.array(canvas, dtype=np.float32))
    return mask.expand(shape).contiguous()


DRAWN: Mapping[str, Callable[[ImageShape, float, Generator], Tensor]] = {
    "random": random_mask,
    "hole": hole_mask,
    "text": text_mask,
}


def mask_file(path: str, name: str) -> Path:
    """Return the mask of the image ``name``: a file, or the one of that name in a folder.

    Raises:
        UserError: If there is none, or several.
    """
    if not Path(path).is_dir():
        return Path(path)
    found = list_files(path, (*READERS, *SUFFIXES), what="masks")
    matching = [file for file in found if name in _whole_names(file.relative_to(path))]
    matching = matching or [file for file in found if name in (file.stem, file.name)]
    if len(matching) != 1:
        told = f"several masks ({', '.join(map(str, matching[:3]))})" if matching else "no mask"
        raise UserError(f"task.mask={path} holds {told} of '{name}'")
    return matching[0]


def _whole_names(path: Path) -> tuple[str, str]:
    """Return what an image at a path below its folder may be called in results."""
    return tuple(part.as_posix().replace("/", "__") for part in (path, path.with_suffix("")))  # type: ignore[return-value]


@lru_cache(maxsize=4)
def read_mask(path: Path) -> Tensor:
    """Read a mask from an image, white where pixels were kept, or the entry ``mask`` of a file.

    Shape:
        (1, H, W) or (C, H, W), float32 zeros and ones. An image is cut at one half.
    Raises:
        UserError: If the file cannot be read, or the mask is not binary or loses every pixel.
    """
    if path.suffix.lower() in READERS:
        key = "y" if path.suffix.lower() == ".npy" else "mask"
        return checked_mask(MeasurementFile(path), key)
    mask = (read_image(path, channels=1) > 0.5).float()
    if not bool(mask.any()):
        raise UserError(f"{path}: the mask loses every pixel: white is kept, black is lost")
    return mask


def checked_mask(file: MeasurementFile, key: str = "mask") -> Tensor:
    """Return the mask in a measurement file as (1 or C, H, W).

    Raises:
        UserError: If it is missing, has another rank, is not binary or loses every pixel.
    """
    value = file.get(key, f"{KEPT}; or give task.mask=FILE")
    mask = torch.empty(0)
    if isinstance(value, Tensor) and not value.is_complex():
        mask = value.float()
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or not mask.numel():
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise file.error(key, f"must have shape (H, W) or (C, H, W), got {found}")
    if not is_binary(mask) or not bool(mask.any()):
        raise file.error(key, f"must be {KEPT}, and not all 0")
    return mask


def is_binary(mask: Tensor) -> bool:
    """Return whether a mask holds zeros and ones alone."""
    return bool(((mask == 0) | (mask == 1)).all())
