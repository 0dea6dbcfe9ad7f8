"""Arrays as images: ``.npy``, deep TIFF, where the channels are, what the log tells."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from metadip.data.arrays import as_channels
from metadip.data.images import image_shape, list_images, read_image
from metadip.types import UserError

PICTURE = np.random.default_rng(0).random((5, 6, 3)).astype(np.float32)


def saved(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (PICTURE, PICTURE.transpose(2, 0, 1)),
        (PICTURE.transpose(2, 0, 1), PICTURE.transpose(2, 0, 1)),
        (PICTURE[..., 0].astype(np.float64), PICTURE[None, ..., 0]),
        (
            (255 * PICTURE).astype(np.uint8),
            (255 * PICTURE).astype(np.uint8).transpose(2, 0, 1) / 255,
        ),
        (np.full((5, 6), 65535, np.uint16), np.ones((1, 5, 6))),
    ],
)
def test_npy_is_an_image(array: Any, expected: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npy", array)
    x = read_image(path, channels=None)
    torch.testing.assert_close(x, torch.from_numpy(np.asarray(expected, np.float32)))
    assert image_shape(path) == tuple(x.shape)
    assert read_image(path).shape == (3, 5, 6)
    assert list_images(tmp_path) == [path]


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.ones((2, 3, 4, 5)), "an image has 2 or 3 dimensions, not 4"),
        (np.full((5, 6), 2.0), "values outside"),
        (np.full((5, 6), np.nan), "values outside"),
        (np.ones((2, 5, 6)), "has 2 channels: give an image of 1 or 3"),
        (np.array(["a"]), "cannot have values of type"),
    ],
)
def test_bad_npy(array: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=text) as caught:
        read_image(saved(tmp_path / "a.npy", array))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_deep_colour_tiff(kind: Any, planes: bool, tmp_path: Path) -> None:
    pixels = (65535 * PICTURE).astype(kind) if kind is np.uint16 else PICTURE
    stored = pixels.transpose(2, 0, 1) if planes else pixels
    options: dict[str, Any] = {"planarconfig": "separate"} if planes else {}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **options)
    x = read_image(tmp_path / "a.tif")
    torch.testing.assert_close(x, torch.from_numpy(PICTURE).permute(2, 0, 1), rtol=0, atol=2e-5)


def test_a_measurement_may_leave_the_unit_interval(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[1.5, -0.25]], np.float32))
    assert read_image(tmp_path / "a.tif", channels=1, measured=True).tolist() == [[[1.5, -0.25]]]
    with pytest.raises(UserError, match="values outside"):
        read_image(tmp_path / "a.tif")


def test_channels_last_are_recognised() -> None:
    assert as_channels(np.zeros((5, 6, 2)), "a").shape == (2, 5, 6)
    assert as_channels(np.zeros((3, 6, 2)), "a").shape == (3, 6, 2)
    assert as_channels(np.zeros((5, 6, 7)), "a").shape == (5, 6, 7)


def test_what_the_log_tells(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="metadip")
    Image.fromarray(np.full((4, 4), 4000, np.uint16)).save(tmp_path / "deep.png")
    Image.new("RGBA", (4, 4)).save(tmp_path / "alpha.png")
    saved(tmp_path / "last.npy", PICTURE)
    for name in ("notes.txt", "b.csv", "c.doc", "d.xls", ".hidden"):
        (tmp_path / name).touch()
    for path in list_images(tmp_path):
        read_image(path)
    told = [record.getMessage() for record in caplog.records]
    assert (
        sum("4 files are no images and are skipped: b.csv, c.doc, d.xls, ..." in t for t in told)
        == 1
    )
    assert sum("the transparency of" in t and "alpha.png" in t for t in told) == 1
    assert sum("is read as (H, W, C)" in t for t in told) >= 1
    assert (
        sum("has 16 bits and no value above 4000: if it was taken with 12" in t for t in told) == 1
    )
    assert not any("\n" in t for t in told)


def test_dicom_says_how_to_convert(tmp_path: Path) -> None:
    (tmp_path / "scan.dcm").write_bytes(b"DICM")
    with pytest.raises(UserError, match=r"scan\.dcm' is DICOM: save its pixel_array of pydi"):
        read_image(tmp_path / "scan.dcm")
