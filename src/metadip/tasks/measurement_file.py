"""Measurement files: read without running code from them, every entry checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metadip.data.arrays import MAX_CHANNELS, as_channels, as_intensities
from metadip.data.images import read_image
from metadip.limits import check_archive, check_bytes, check_image
from metadip.physics.operators import ImageShape
from metadip.types import UserError

_MAX_INTENSITY = 10.0  # [0, 1] plus any allowed noise stays below; 0 to 255 does not
INTEGERS = (torch.uint8, torch.uint16, torch.uint32, torch.int16, torch.int32, torch.int64)
_MEANINGS = {
    "y": "the measurement",
    "x": "the ground truth",
    "image_shape": "C, H, W of the unknown image",
}


@dataclass(frozen=True)
class MeasurementFile:
    """The entries of a measurement file, read on first access.

    Every error is a ``UserError`` that names the file and the entry.

    Args:
        path: a ``.pt`` (a dictionary), ``.npz`` or ``.npy`` file (``y`` alone), nothing pickled.
        images: whether an image file is a measurement too; its only entry is ``y``.
    """

    path: Path
    _: KW_ONLY
    images: bool = False

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """The entries by name: tensors, numbers and text.

        Raises:
            UserError: If the file is missing or cannot be read.
        """
        if not self.path.is_file():
            raise UserError(f"no measurement file '{self.path}': check the path")
        reader = READERS.get(self.path.suffix.lower())
        if reader is not None:
            content = reader(self.path)
            for key, value in content.items():
                if isinstance(value, Tensor) and (value.layout != torch.strided or value.is_meta):
                    raise self.error(key, "is sparse or without values: save an ordinary array")
            return content
        if self.images:
            return {"y": read_image(self.path, channels=None, measured=True)}
        raise UserError(
            f"{self.path}: a measurement of this task must be one of {', '.join(READERS)}"
        )

    def error(self, key: str, problem: str) -> UserError:
        """Return the error for one entry."""
        return UserError(f"{self.path}: {key} {problem}")

    def get(self, key: str, meaning: str | None = None) -> object:
        """Return a required entry; ``meaning`` explains it in the error."""
        if key not in self.content:
            found = ", ".join(map(str, self.content)) or "nothing"
            meaning = meaning or _MEANINGS.get(key)
            told = f" ({meaning})" if meaning else ""
            raise self.error(key, f"is missing{told}; the file holds {found}")
        return self.content[key]

    def floats(self, key: str, *, complex_too: bool = False, integers: bool = False) -> Tensor:
        """Return a finite array as float32, or complex64 if complex numbers are allowed.

        With ``integers``, those are scaled to [0, 1] as image files are.
        """
        value = self.get(key)
        if integers and isinstance(value, Tensor) and value.dtype in INTEGERS:
            value = torch.from_numpy(as_intensities(value.numpy(), f"{self.path}: {key}"))
        is_complex = complex_too and isinstance(value, Tensor) and value.is_complex()
        if not isinstance(value, Tensor) or not (value.is_floating_point() or is_complex):
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            wanted = "floating-point numbers" if complex_too else "real floating-point numbers"
            raise self.error(key, f"must be an array of {wanted}, got {kind}")
        check_bytes(4 * value.numel(), f"{self.path}: {key}")
        value = value.detach().to(torch.complex64 if is_complex else torch.float32)
        n_bad = int((~value.isfinite()).sum())
        if n_bad:
            raise self.error(key, f"has NaN or infinity in {n_bad} of {value.numel()} values")
        return value

    def scalar(self, key: str) -> object:
        """Return a number, unpacked from an array of one."""
        value = self.get(key)
        return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value

    def integer(self, key: str, *, minimum: int | None = None, maximum: int | None = None) -> int:
        """Return a whole number."""
        value = self.scalar(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(key, f"must be a whole number, got {told(value)}")
        if not -(2**63) <= value < 2**63:
            raise self.error(key, "must be below 2**63")
        if minimum is not None and value < minimum:
            raise self.error(key, f"must be at least {minimum}, got {value}")
        if maximum is not None and value > maximum:
            raise self.error(key, f"must be at most {maximum}, got {value}")
        return value

    def noise_std(self, fallback: float) -> float:
        """Return the noise level, or ``fallback`` if the file has none."""
        value = self.scalar("noise_std") if "noise_std" in self.content else fallback
        if not isinstance(value, float | int) or not 0 <= value < math.inf:
            raise self.error(
                "noise_std", f"must be a finite number of at least 0, got {told(value)}"
            )
        return float(value)

    def image(self, key: str, *, integers: bool = False) -> Tensor:
        """Return an image (H, W), (C, H, W) or (H, W, C) as (1, C, H, W)."""
        value = self.floats(key, integers=integers)
        if value.ndim in (2, 3):
            value = torch.from_numpy(as_channels(value.numpy(), f"{self.path}: {key}"))
        batch = value[None].contiguous() if value.ndim == 3 else value
        if batch.ndim != 4 or batch.shape[0] != 1 or not batch.numel():
            raise self.error(key, f"must have shape (C, H, W), got {tuple(value.shape)}")
        self.check_image_shape(key, tuple(batch.shape[1:]))
        return batch

    def intensities(self) -> Tensor:
        """Return ``y`` as a measured image (1, C, H, W) of about [0, 1] intensity.

        Integers are scaled as those of image files are.
        """
        y = self.image("y", integers=True)
        if y.abs().max() > _MAX_INTENSITY:
            raise self.error("y", f"reaches {y.abs().max():g}; scale it to [0, 1] intensity")
        return y

    def image_shape(self) -> ImageShape:
        """Return the entry ``image_shape``."""
        value = self.get("image_shape")
        sizes = value.tolist() if isinstance(value, Tensor) else value
        if not isinstance(sizes, list | tuple) or len(sizes) != 3:
            found = told(sizes)
            raise self.error("image_shape", f"must be three whole numbers C, H, W, got {found}")
        return self.check_image_shape("image_shape", tuple(sizes))

    def check_image_shape(self, key: str, shape: tuple[Any, ...]) -> ImageShape:
        """Return (C, H, W) if it has 1 to 4 channels and no size is below 1."""
        if not all(isinstance(size, int) and 1 <= size < 2**31 for size in shape):
            raise self.error(key, "must be three whole numbers C, H, W of at least 1")
        if shape[0] > MAX_CHANNELS:
            raise self.error(key, f"has {shape[0]} channels in (C, H, W) = {shape}; at most 4")
        check_image(shape, f"{self.path}: an image of {shape}")
        return shape[0], shape[1], shape[2]

    def truth(self, shape: ImageShape) -> Tensor | None:
        """Return the ground truth, if the file has one."""
        if "x" not in self.content:
            return None
        x = self.image("x")
        if tuple(x.shape[1:]) != shape:
            raise self.error("x", f"must have the image's shape {shape}, got {tuple(x.shape[1:])}")
        return x


def told(value: object) -> str:
    """Return a value for an error, in one short line."""
    if isinstance(value, Tensor):
        return f"an array {tuple(value.shape[:5])} of {value.dtype}"
    text = f"2**{value.bit_length()}" if isinstance(value, int) and value > 2**63 else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _read_pt(path: Path) -> Mapping[str, Any]:
    """Read a dictionary written by ``torch.save``, without running code from it."""
    check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise anything, from KeyError to UnpicklingError
        raise UserError(
            f"{path}: cannot be read as .pt (truncated, not such a file, or it holds more than a "
            "dictionary of tensors, numbers and text)"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold a dictionary with key y, got {type(content).__name__}")
    return content


def _read_npz(path: Path) -> Mapping[str, Any]:
    """Read arrays written by ``numpy.savez``; text becomes a string again."""
    check_archive(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key]) for key in archive.files}
            return {key: _plain(array) for key, array in arrays.items()}
    except Exception as error:  # BadZipFile, ValueError for pickles, TypeError for a bare .npy
        raise UserError(
            f"{path}: cannot be read as .npz (truncated, not such a file, or it holds more than "
            "plain arrays)"
        ) from error


def _plain(array: np.ndarray[Any, Any]) -> object:
    """Turn numbers into a tensor and anything else into plain Python values."""
    if array.dtype.kind in "fiubc":
        wide = {"f": np.float64, "c": np.complex128}.get(array.dtype.kind, array.dtype)
        dtype = array.dtype.newbyteorder("=") if array.dtype.itemsize <= 8 else np.dtype(wide)
        native = array.astype(dtype)
        return torch.from_numpy(native)
    return array.item() if array.ndim == 0 else array.tolist()


def _read_npy(path: Path) -> Mapping[str, Any]:
    """Read the measurement alone, written by ``numpy.save``."""
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:
        raise UserError(
            f"{path}: cannot be read as .npy (truncated, not such a file, or pickled)"
        ) from error
    return {"y": _plain(array)}


READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    ".pt": _read_pt,
    ".npz": _read_npz,
    ".npy": _read_npy,
}
