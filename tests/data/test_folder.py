"""Any folder of images: order, names, splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metadip.data import ImageFolder, SampleKey, images_of_split
from metadip.types import UserError


def fill(folder: Path, count: int, shape: tuple[int, ...] = (8, 10, 3)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        values = np.random.default_rng(i).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{i}.png")


def image_folder(
    root: Path, split: str | None, *, channels: int = 3, flip: bool = False
) -> ImageFolder:
    return ImageFolder(
        root, split=split, channels=channels, crop_px=None, size_px=None, flip=flip, seed=0
    )


def test_split_folders_decide(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "deep", 3)
    fill(tmp_path / "valid", 2)
    assert [p.name for p in images_of_split(tmp_path, "train")] == ["0.png", "1.png", "2.png"]
    assert len(image_folder(tmp_path, "val")) == 2
    assert len(image_folder(tmp_path, None)) == 5
    with pytest.raises(UserError, match=r"has no images for test: add them in '.*test'"):
        image_folder(tmp_path, "test")


def test_fixed_split_is_a_partition(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    parts = {split: images_of_split(tmp_path, split) for split in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [16, 2, 2]
    assert len({path for part in parts.values() for path in part}) == 20
    assert parts["val"] == images_of_split(tmp_path, "val")


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder '.*nowhere'"):
        image_folder(tmp_path / "nowhere", "train")
    with pytest.raises(UserError, match=r"holds no images"):
        image_folder(tmp_path, "train")
    fill(tmp_path, 2)
    with pytest.raises(UserError, match=r"holds 2 image\(s\), too few to split"):
        image_folder(tmp_path, "train")
    with pytest.raises(ValueError, match=r"split is 'all'"):
        image_folder(tmp_path, "all")


def test_items_and_flip(tmp_path: Path) -> None:
    fill(tmp_path / "train", 2)
    plain, flipped = image_folder(tmp_path, "train"), image_folder(tmp_path, "train", flip=True)
    assert (plain[1].name, plain[1].index, plain[1].x.shape) == ("1", 1, (3, 8, 10))
    assert image_folder(tmp_path, "train", channels=1)[0].x.shape == (1, 8, 10)
    same = [torch.equal(flipped[SampleKey(e, 0)].x, plain[0].x) for e in range(8)]
    mirrored = [torch.equal(flipped[SampleKey(e, 0)].x.flip(-1), plain[0].x) for e in range(8)]
    assert any(same)
    assert [not s for s in same] == mirrored
