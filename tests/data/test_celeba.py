"""CelebA's layout: partition, geometry, what is said when something is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metadip.data import CelebA, SampleKey, download_celeba
from metadip.types import UserError

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "celeba_samples"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "img_align_celeba"
    folder.mkdir()
    for number in range(1, 7):
        values = np.random.default_rng(number).integers(0, 256, (218, 178, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number:06d}.jpg")
    lines = [
        f"{number:06d}.jpg {split}" for number, split in zip(range(1, 7), "001122", strict=True)
    ]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def celeba(
    root: Path,
    split: str | None = "train",
    *,
    crop_px: int | None = None,
    size_px: int | None = 16,
    flip: bool = False,
    seed: int = 0,
) -> CelebA:
    return CelebA(root, split=split, crop_px=crop_px, size_px=size_px, flip=flip, seed=seed)


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["000001", "000002"]),
        ("val", ["000003", "000004"]),
        ("test", ["000005", "000006"]),
        (None, ["000001", "000002", "000003", "000004", "000005", "000006"]),
    ],
)
def test_partition_is_respected(root: Path, split: str | None, names: list[str]) -> None:
    faces = celeba(root, split)
    assert [faces[i].name for i in range(len(faces))] == names


def test_item(root: Path) -> None:
    image = celeba(root, "val")[SampleKey(3, 1)]
    assert (image.name, image.index, image.epoch, image.x.shape) == ("000004", 1, 3, (3, 16, 16))
    assert celeba(root, crop_px=140, size_px=None)[0].x.shape == (3, 140, 140)
    assert celeba(root, size_px=None)[0].x.shape == (3, 218, 178)


def test_folder_of_torchvision_is_accepted(root: Path) -> None:
    inner = root / "download" / "celeba"
    inner.mkdir(parents=True)
    for name in ("img_align_celeba", "list_eval_partition.txt"):
        (root / name).rename(inner / name)
    assert len(celeba(root / "download")) == 2
    download_celeba(root / "download")  # there already: nothing is fetched


def test_flip_is_drawn_by_seed_epoch_and_index_in_training_only(root: Path) -> None:
    plain, flipped = celeba(root), celeba(root, flip=True)
    seen = set()
    for epoch in range(8):
        image = flipped[SampleKey(epoch, 0)]
        assert torch.equal(image.x, flipped[SampleKey(epoch, 0)].x)
        same, mirrored = (torch.equal(x, plain[0].x) for x in (image.x, image.x.flip(-1)))
        assert same != mirrored
        seen.add(same)
    assert seen == {True, False}
    validation = celeba(root, "val", flip=True)
    assert all(torch.equal(validation[SampleKey(e, 0)].x, validation[0].x) for e in range(8))
    other = celeba(root, flip=True, seed=1)
    keys = [SampleKey(e, 0) for e in range(16)]
    assert any(not torch.equal(other[k].x, flipped[k].x) for k in keys)


def test_unknown_split(root: Path) -> None:
    with pytest.raises(ValueError, match=r"split is 'valid', must be one of train, val, test"):
        celeba(root, "valid")


def test_missing_data_names_the_place_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no CelebA images in '.*img_align_celeba': get .* or use data=sample"
    ):
        celeba(tmp_path)


def test_missing_partition(root: Path) -> None:
    (root / "list_eval_partition.txt").unlink()
    with pytest.raises(
        UserError, match=r"no partition file '.*list_eval_partition.txt' beside the images"
    ):
        celeba(root)
    assert len(celeba(root, None)) == 6


def test_malformed_partition(root: Path) -> None:
    (root / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg three\n")
    with pytest.raises(
        UserError, match=r"line 2 of '.*' is '000002.jpg three', must be a file name and 0"
    ):
        celeba(root)


def test_incomplete_images_and_empty_split(root: Path) -> None:
    (root / "img_align_celeba" / "000002.jpg").unlink()
    with pytest.raises(
        UserError, match=r"1 of 2 train images are missing from .* first is 000002.jpg"
    ):
        celeba(root)
    (root / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    with pytest.raises(UserError, match=r"gives no image to the test split"):
        celeba(root, "test")


def test_image_smaller_than_the_crop(root: Path) -> None:
    with pytest.raises(UserError, match=r"000001.jpg' is 178x218 px, smaller than crop_px=200"):
        celeba(root, crop_px=200)[0]


def test_failed_download_says_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("too many users\nhave viewed this file")

    monkeypatch.setattr("torchvision.datasets.CelebA", fail)
    with pytest.raises(
        UserError, match=r"could not be downloaded .*too many users have.*data=sample"
    ) as caught:
        download_celeba(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs the real CelebA samples")
def test_real_geometry() -> None:
    faces = celeba(SAMPLES, None, crop_px=None, size_px=None)
    assert len(faces) == 5
    assert all(faces[i].x.shape == (3, 218, 178) for i in range(5))
    assert celeba(SAMPLES, None, crop_px=178, size_px=64)[4].x.shape == (3, 64, 64)
