"""Chosen images of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from metadip.data import NamedImages, SampleKey
from metadip.types import UserError
from tests.data.test_folder import fill


def named(root: Path | None, *files: str, size_px: int | None = None) -> NamedImages:
    folder = None if root is None else str(root)
    return NamedImages(folder, files=files, channels=1, crop_px=None, size_px=size_px)


def test_images_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    fill(tmp_path / "grey", 3)
    images = named(tmp_path, "grey/2.png", "grey/0.png")
    assert [images[k].name for k in range(len(images))] == ["2", "0"]
    assert images[SampleKey(0, 0)].x.shape == (1, 8, 10)
    assert named(tmp_path, "grey/1.png", size_px=4)[0].x.shape == (1, 4, 4)


def test_pictures_of_scikit_image_need_no_folder() -> None:
    image = named(None, "logo.png", size_px=16)[0]
    assert (image.name, image.x.shape) == ("logo", (1, 16, 16))
    assert image.x.std() > 0.1


def test_missing_files_are_told(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    with pytest.raises(UserError, match=r"lacks hill.png, x/y.png: add the image there"):
        named(tmp_path, "0.png", "hill.png", "x/y.png")
    with pytest.raises(UserError, match="files is empty"):
        named(tmp_path)
