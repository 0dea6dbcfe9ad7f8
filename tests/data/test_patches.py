"""Patches: fixed in validation, new ones in every epoch of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metadip.data import NaturalPatches, Patches, SampleKey, SamplePatches, sample_picture
from metadip.data.patches import PICTURES, random_patch, random_turn, sample_face
from metadip.seeding import generator_of
from metadip.types import UserError


def fill(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        values = np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{i}.png")


def natural(
    roots: Path | list[Path],
    split: str = "train",
    *,
    size_px: int = 8,
    per_image: int = 1,
    seed: int = 0,
) -> NaturalPatches:
    return NaturalPatches(
        roots, split=split, size_px=size_px, flip=True, patches_per_image=per_image, seed=seed
    )


def test_training_patch_depends_on_seed_epoch_and_index_alone(tmp_path: Path) -> None:
    fill(tmp_path / "train", 2)
    patches = natural(tmp_path)
    x = patches[SampleKey(1, 0)].x
    assert x.shape == (3, 8, 8)
    assert torch.equal(x, natural(tmp_path)[SampleKey(1, 0)].x)
    assert not torch.equal(x, patches[SampleKey(2, 0)].x)
    assert not torch.equal(x, natural(tmp_path, seed=1)[SampleKey(1, 0)].x)


def test_training_images_are_made_smaller_and_their_colours_exchanged(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 40).astype(np.uint8)
    values = np.stack(np.broadcast_arrays(ramp[None], ramp[:40, None], np.uint8(9)), axis=-1)
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        Image.fromarray(values).save(tmp_path / split / "a.png")
    options: dict[str, Any] = {"size_px": 10, "flip": False, "patches_per_image": 1, "seed": 0}
    changed: dict[str, Any] = {"shrink": 0.25, "permute_colours": True}
    plain = NaturalPatches(tmp_path, split="train", **options)[0].x
    slopes, orders = set(), set()
    patches = NaturalPatches(tmp_path, split="train", **options, **changed)
    for epoch in range(40):
        x = patches[SampleKey(epoch, 0)].x
        assert x.shape == plain.shape
        across = (x[:, 5, 7] - x[:, 5, 2]) * 51
        along = (x[:, 7, 5] - x[:, 2, 5]) * 51
        slopes.add(round(float(across.max() / 6.5), 1))
        orders.add((int(across.argmax()), int(along.argmax())))
    assert len(orders) == 6
    assert min(slopes) == pytest.approx(1, abs=0.15)
    assert max(slopes) == pytest.approx(4, abs=0.5)
    same = (NaturalPatches(tmp_path, split="val", **options, **c)[0].x for c in (changed, {}))
    torch.testing.assert_close(*same, rtol=0, atol=0)
    for bad in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"shrink must be in \(0, 1\], got"):
            NaturalPatches(tmp_path, split="train", **options, shrink=bad)


@pytest.mark.parametrize("split", ["val", "test"])
def test_other_patches_are_fixed(tmp_path: Path, split: str) -> None:
    fill(tmp_path / split, 2)
    x = natural(tmp_path, split, per_image=2)[0].x
    assert torch.equal(x, natural(tmp_path, split, per_image=2, seed=5)[SampleKey(7, 0)].x)
    assert not torch.equal(x, natural(tmp_path, split, per_image=2)[2].x)


def test_several_patches_per_image(tmp_path: Path) -> None:
    fill(tmp_path / "val", 2)
    patches = natural(tmp_path, "val", per_image=3)
    assert [patches[i].name for i in range(len(patches))] == [
        "0_0",
        "1_0",
        "0_1",
        "1_1",
        "0_2",
        "1_2",
    ]
    with pytest.raises(IndexError, match=r"patch 6 of 6"):
        patches[6]


def test_default_names_and_lists(tmp_path: Path) -> None:
    fill(tmp_path / "BSDS500" / "images" / "train", 2)
    fill(tmp_path / "BSDS500" / "images" / "val", 1)
    fill(tmp_path / "DIV2K" / "DIV2K_train_HR", 1)
    fill(tmp_path / "Waterloo", 10)
    fill(tmp_path / "other", 3)
    assert len(natural(tmp_path)) == 2 + 1 + 8
    assert len(natural(tmp_path, "val")) == 1 + 1
    assert len(natural([tmp_path / "BSDS500", tmp_path / "DIV2K"])) == 3
    names = [natural(tmp_path)[i].name for i in range(11)]
    assert len(set(names)) == 11


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no photographs in '.*': it needs a subfolder BSDS500"):
        natural(tmp_path)
    with pytest.raises(UserError, match=r"no folder '.*nowhere' of photographs: check data.root"):
        natural([tmp_path / "nowhere"])
    with pytest.raises(UserError, match=r"no folder '' of photographs"):
        natural([])
    fill(tmp_path / "train", 1)
    with pytest.raises(UserError, match=r"no images for test in .*: add a folder '.*test'"):
        natural(tmp_path, "test")
    (tmp_path / "val").mkdir()
    with pytest.raises(UserError, match=r"val' holds no images"):
        natural(tmp_path, "val")


def test_image_smaller_than_the_patch(tmp_path: Path) -> None:
    fill(tmp_path / "train", 1)
    with pytest.raises(
        UserError, match=r"0.png' is 30x20 px, smaller than the patch of 21 px: lower"
    ):
        natural(tmp_path, size_px=21)[0]


@pytest.mark.parametrize(("count", "size_px", "per_image"), [(0, 8, 1), (1, 0, 1), (1, 8, 0)])
def test_ranges(count: int, size_px: int, per_image: int) -> None:
    with pytest.raises(
        ValueError, match=f"{count} images, size_px {size_px}, patches_per_image {per_image}"
    ):
        Patches(
            [Path("a.png")] * count,
            names=["a"] * count,
            split="train",
            size_px=size_px,
            flip=False,
            patches_per_image=per_image,
            seed=0,
        )


def test_unknown_split(tmp_path: Path) -> None:
    fill(tmp_path / "train", 1)
    with pytest.raises(ValueError, match=r"split is 'all'"):
        natural(tmp_path, "all")
    with pytest.raises(ValueError, match=r"split is 'all'"):
        SamplePatches(split="all", size_px=8, flip=False, seed=0)


def test_every_place_and_turn_is_reached() -> None:
    x = torch.arange(12.0).view(1, 3, 4)
    generator = generator_of(0)
    corners = {float(random_patch(x, 2, generator, name="a")[0, 0, 0]) for _ in range(200)}
    assert corners == {0, 1, 2, 4, 5, 6}
    turned = {tuple(random_turn(x[:, :2, :2], generator).flatten().tolist()) for _ in range(200)}
    assert len(turned) == 8


def test_sample_pictures_are_disjoint_and_ship_with_scikit_image() -> None:
    pictures = [name for names in PICTURES.values() for name in names]
    assert len(set(pictures)) == len(pictures)
    sizes = {"train": 16 * 6, "val": 16, "test": 16}
    for split, size in sizes.items():
        patches = SamplePatches(split=split, size_px=64, flip=True, seed=0)
        assert len(patches) == size
        assert patches[size - 1].x.shape == (3, 64, 64)
    with pytest.raises(ValueError, match=r"size_px 0"):
        SamplePatches(split="val", size_px=0, flip=True, seed=0)
    with pytest.raises(
        UserError, match=r"chelsea.png' is 451x300 px, smaller than the patch of 301"
    ):
        SamplePatches(split="val", size_px=301, flip=True, seed=0)[0]


def test_missing_sample_picture() -> None:
    with pytest.raises(UserError, match=r"scikit-image lacks its picture 'nobody.png': install"):
        sample_picture("nobody.png")


def test_the_built_in_face_is_a_small_colour_image():
    face = sample_face(48)
    assert face.shape == (3, 48, 48)
    assert 0 <= face.min() < face.max() <= 1
