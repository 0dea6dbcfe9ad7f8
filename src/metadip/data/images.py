"""Find, read, crop and resize image files, as tensors in [0, 1]."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from metadip.data.arrays import decode_deep_tiff, deep_tiff_shape, load_array, tell_12_bits
from metadip.limits import check_image
from metadip.types import UserError

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".npy",
)  # fmt: skip
DICOM = (".dcm", ".dicom")
MAX_TOLD = 3  # names of skipped files in the log
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in JPEG
MAX_8_BIT, MAX_16_BIT = 255.0, 65535.0
PNG_HEADER = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH, PNG_COLOUR = 24, 25  # bytes of the file that hold the bit depth and the colour type
TIFF = (".tif", ".tiff")
HUGE, SPARE = 2**25, 4  # pixels; sides per side of the result, so that the final resize is smooth
GREY_MODES = ("1", "L", "LA", "La", "F")
Read = TypeVar("Read")
LOG = logging.getLogger(__name__)


class ImageError(UserError):
    """A bad image file, reported in one line even from a DataLoader worker.

    PyTorch re-raises a worker's exception with the whole traceback as its text; only the message is
    kept here.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rsplit("ImageError: ", 1)[-1].strip())


def read_image(
    path: str | Path,
    *,
    channels: int | None = 3,
    size_px: int | None = None,
    measured: bool = False,
) -> Tensor:
    """Read an image file in any common format.

    Model:
        8-bit values are divided by 255 and 16-bit values by 65535 (never cut to 8 bits); floats are
        used as they are. Palette and CMYK images become RGB. Transparency is ignored: the stored
        colour is used, without blending. EXIF orientation is applied. Only the first frame of an
        animation is read. ``.npy`` arrays are (H, W), (C, H, W) or (H, W, C), see ``as_channels``.
    Shape:
        Returns (channels, H, W), float32 in [0, 1] unless ``measured``.
    Args:
        path: the file.
        channels: 3 repeats a grey image three times; 1 gives luminance (0.299 R + 0.587 G + 0.114
            B); None keeps those of the file, 1 or 3 (``.npy``: 1 to 4).
        size_px: side that the image is resized to afterwards; an image of more than ``HUGE`` pixels
            is then shrunk while it is in 8 bits, to no less than ``SPARE`` times that.
        measured: accept floats outside [0, 1].
    Raises:
        ValueError: If ``channels`` is not 1, 3 or None.
        UserError: If the file is missing, empty, truncated or not an image, its values lie outside
            [0, 1] (float) or 16 bits, or it takes too much memory.
    """
    if channels not in (1, 3, None):
        raise ValueError(f"channels is {channels}, must be 1 or 3")
    x = _opened(path, partial(_decode, size_px=size_px))
    if not measured and not (x.min() >= 0 and x.max() <= 1):
        raise ImageError(
            f"'{path}' has values outside [0, 1] (float) or 16 bits (integer): rescale it"
        )
    if channels is not None and len(x) not in (1, 3):
        raise ImageError(f"'{path}' has {len(x)} channels: give an image of 1 or 3")
    if channels == 1 and len(x) == 3:
        return (torch.tensor(LUMINANCE).view(3, 1, 1) * x).sum(0, keepdim=True).clamp_(0, 1)
    return x.expand(channels or len(x), -1, -1).contiguous()


def image_shape(path: str | Path) -> tuple[int, int, int]:
    """Return (C, H, W) of an image file from its header alone, without decoding it.

    Height and width are as stored, before the EXIF orientation is applied.

    Raises:
        UserError: If the file is missing, empty or not an image; damage after the header goes
            unnoticed.
    """
    return _opened(path, _read_header)


def _read_header(path: Path) -> tuple[int, int, int]:
    if path.suffix.lower() == ".npy":
        channels, height, width = load_array(path).shape
        return channels, height, width
    if path.suffix.lower() in TIFF and (shape := deep_tiff_shape(path)) is not None:
        return shape
    with Image.open(path) as image:
        width, height = image.size
        grey = image.mode in GREY_MODES or image.mode.startswith("I")
    return 1 if grey else 3, height, width


def _opened(path: str | Path, read: Callable[[Path], Read]) -> Read:
    """Apply ``read`` to an image file; an error says in one line why that fails."""
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"no image file '{path}': check the path")
    if path.stat().st_size == 0:
        raise ImageError(f"image '{path}' is empty (0 bytes): copy it again or remove it")
    if path.suffix.lower() in DICOM:
        raise ImageError(
            f"'{path}' is DICOM: save its pixel_array of pydicom, scaled to [0, 1], as .npy"
        )
    try:
        return read(path)
    except UserError:
        raise
    except Exception as error:  # decoders may raise anything, from OSError to zlib.error
        reason = " ".join(str(error).split())
        raise ImageError(
            f"cannot read '{path}' as an image ({reason}): it is truncated, damaged or no image; "
            "replace or remove it"
        ) from error


def _decode(path: Path, *, size_px: int | None = None) -> Tensor:
    """Return (C, H, W), integers scaled to [0, 1]."""
    shape = _read_header(path)
    if size_px is None:
        check_image(shape, f"image '{path}' of {shape[2]}x{shape[1]} px")
    if path.suffix.lower() == ".npy":
        return torch.from_numpy(np.array(load_array(path)))
    with path.open("rb") as file:
        header = file.read(PNG_COLOUR + 1)
    if header.startswith(PNG_HEADER) and header[PNG_DEPTH] == 16 and header[PNG_COLOUR] != 0:
        return _decode_png16(path)
    if path.suffix.lower() in TIFF and deep_tiff_shape(path) is not None:
        return decode_deep_tiff(path)
    with Image.open(path) as opened:
        if opened.mode in ("LA", "PA", "RGBA") or "transparency" in opened.info:
            LOG.info("the transparency of '%s' is ignored", path)
        opened.load()
        image = ImageOps.exif_transpose(opened)
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64) / (1.0 if image.mode == "F" else MAX_16_BIT)
        tell_12_bits(path, image.mode != "F", values)
        return torch.from_numpy(values.astype(np.float32))[None]
    if image.mode in ("1", "L", "LA", "La"):
        image = image.convert("LA").convert("L")
    elif image.mode != "RGB":
        image = image.convert("RGBA") if image.mode == "RGBa" else image
        image = image.convert("RGB")
    if size_px is not None and image.width * image.height > HUGE:
        image = image.reduce(max(1, min(image.size) // (SPARE * size_px)))
    check_image((3, image.height, image.width), f"image '{path}'")
    values8 = np.atleast_3d(np.array(image, dtype=np.uint8))  # (H, W, 1 or 3)
    return torch.from_numpy(values8).permute(2, 0, 1).float().div_(MAX_8_BIT)


def _decode_png16(path: Path) -> Tensor:
    """Decode a 16-bit PNG with colour or alpha, which Pillow alone would cut to 8 bits.

    Pillow keeps the first byte of each pair, the high one; with the byte order reversed, it keeps
    the low one. Grey with alpha has four bytes per pixel, unpacked here as if they were RGBA.
    """
    with Image.open(path) as image:
        rawmode = str(image.tile[0].args)
    if rawmode == "LA;16B":
        pixels = _unpack(path, "RGBA")
        values = pixels[..., :1] * 256 + pixels[..., 1:2]
    else:
        high, low = _unpack(path, rawmode), _unpack(path, rawmode.replace("16B", "16L"))
        values = (high * 256 + low)[..., :3]
    return torch.from_numpy(values).permute(2, 0, 1).float().div_(MAX_16_BIT)


def _unpack(path: Path, rawmode: str) -> NDArray[np.int32]:
    """Return the pixels (H, W, bytes kept) that Pillow reads with another byte layout."""
    with Image.open(path) as image:
        image.tile = [tile._replace(args=rawmode) for tile in image.tile]
        return np.array(ImageOps.exif_transpose(image), dtype=np.int32)


def list_images(root: str | Path) -> list[Path]:
    """List the images below a folder, sorted by relative path; a file gives a list of one.

    Raises:
        UserError: If there are none; see ``list_files``.
    """
    return list_files(root, SUFFIXES, what="images")


def list_files(root: str | Path, suffixes: Sequence[str], *, what: str) -> list[Path]:
    """List the files with given suffixes below a folder, sorted; a file gives a list of one.

    Raises:
        UserError: If ``root`` does not exist, or the folder holds no such file.
    """
    root = Path(root)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise UserError(f"no folder '{root}': check the path")
    seen = [p for p in root.rglob("*") if not p.name.startswith(".")]
    found = [p for p in seen if p.suffix.lower() in suffixes and p.is_file()]
    if not found:
        raise UserError(
            f"folder '{root}' holds no {what}: it needs files ending in {' '.join(suffixes)}"
        )
    skipped = sorted(p.name for p in seen if p.suffix.lower() not in suffixes and p.is_file())
    if skipped:
        names = ", ".join([*skipped[:MAX_TOLD], *["..."] * (len(skipped) > MAX_TOLD)])
        LOG.info("of '%s', %d files are no %s and are skipped: %s", root, len(skipped), what, names)
    return sorted(found, key=lambda p: p.relative_to(root).as_posix())


def centre_crop(x: Tensor, size: int) -> Tensor:
    """Cut the central square of ``size`` pixels out of (C, H, W).

    Raises:
        ValueError: If ``size`` is below 1 or above the height or width.
    """
    height, width = x.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(f"crop of {size} px does not fit in an image of {height}x{width}")
    top, left = (height - size) // 2, (width - size) // 2
    return x[..., top : top + size, left : left + size]


def resize(x: Tensor, size: int) -> Tensor:
    """Resize (C, H, W) to a square of ``size`` pixels, bilinear with antialiasing.

    Raises:
        ValueError: If ``size`` is below 1.
    """
    if size < 1:
        raise ValueError(f"size is {size} px, must be at least 1")
    if x.shape[-2:] == (size, size):
        return x
    resized = F.interpolate(
        x[None], (size, size), mode="bilinear", align_corners=False, antialias=True
    )[0]
    return resized.clamp_(0, 1)


def crop_and_resize(x: Tensor, crop_px: int | None, size_px: int | None, name: str) -> Tensor:
    """Crop the centre, then resize.

    Args:
        x: image (C, H, W).
        crop_px: side of the central square; None takes the largest one, or, if ``size_px`` is None
            too, leaves the image as it is.
        size_px: side of the result, larger or smaller than the crop; None does not resize.
        name: name of the image in errors, preferably its path.
    Raises:
        UserError: If the image is smaller than ``crop_px``.
    """
    if crop_px is None and size_px is None:
        return x
    height, width = x.shape[-2:]
    if crop_px is not None and crop_px > min(height, width):
        raise ImageError(
            f"image '{name}' is {width}x{height} px, smaller than crop_px={crop_px}: "
            "lower crop_px, set crop_px=null for the largest square, or remove the image"
        )
    x = centre_crop(x, min(height, width) if crop_px is None else crop_px)
    return x.contiguous() if size_px is None else resize(x, size_px)
