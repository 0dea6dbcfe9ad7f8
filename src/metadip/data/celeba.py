"""CelebA faces in the published layout of the data set."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch.utils.data import Dataset

from metadip.data.images import crop_and_resize, list_images, read_image
from metadip.data.splits import SPLITS, check_split
from metadip.seeding import SampleKey, as_key, generator_of
from metadip.types import CleanImage, UserError

IMAGES, PARTITION = "img_align_celeba", "list_eval_partition.txt"
SOURCE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
WAY_OUT = (
    f"get {IMAGES}.zip and {PARTITION} from {SOURCE} and unpack them there, or use data=sample"
)


def celeba_folder(root: str | Path) -> Path | None:
    """Return ``root`` or ``root/celeba`` (torchvision's), whichever holds the images, or None."""
    candidates = (Path(root), Path(root) / "celeba")
    return next((folder for folder in candidates if (folder / IMAGES).is_dir()), None)


def download_celeba(root: str | Path) -> None:
    """Download CelebA to ``root/celeba`` through torchvision, unless it is there.

    Raises:
        UserError: If the download fails, for any reason.
    """
    if celeba_folder(root) is not None:
        return
    try:
        from torchvision.datasets import CelebA as Download

        Download(str(root), split="all", download=True)
    except Exception as error:  # quota pages, no network, missing gdown, broken archives
        reason = " ".join(str(error).split())
        raise UserError(
            f"CelebA could not be downloaded to '{root}' ({reason}): {WAY_OUT}"
        ) from error


def read_partition(path: Path) -> dict[str, str]:
    """Read the split of each image from lines of a file name and 0 (train), 1 (val) or 2 (test).

    Raises:
        UserError: If the file is missing or has a line of another form.
    """
    if not path.is_file():
        raise UserError(
            f"no partition file '{path}' beside the images: get {PARTITION} from {SOURCE}, "
            "or use data=folder for images without one"
        )
    splits: dict[str, str] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words and (len(words) != 2 or words[1] not in ("0", "1", "2")):
            raise UserError(
                f"line {number} of '{path}' is {line[:40]!r}, must be a file name and 0, 1 or 2: "
                f"get the file again from {SOURCE}"
            )
        if words:
            splits[words[0]] = SPLITS[int(words[1])]
    return splits


class CelebA(Dataset[CleanImage]):
    """Read faces from ``img_align_celeba/NNNNNN.jpg``, split by ``list_eval_partition.txt``.

    Shape:
        Item: ``x`` (3, size_px, size_px), or (3, crop_px, crop_px), or the file's own size.
        Published images are 178x218.
    Args:
        root: folder that holds both, or whose subfolder ``celeba`` does.
        split: train, val or test; None takes every image and needs no partition file.
        crop_px, size_px: see ``crop_and_resize``.
        flip: mirror half of the training images, and no others, drawn by (seed, epoch, index).
        seed: seed of the random choices.
    Raises:
        ValueError: If ``split`` is unknown.
        UserError: If the images or the partition file are missing or incomplete, or the split is
            empty.
    References: Liu et al. (2015), Deep Learning Face Attributes in the Wild, arXiv:1411.7766.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str | None,
        crop_px: int | None,
        size_px: int | None,
        flip: bool,
        seed: int,
    ) -> None:
        folder = celeba_folder(root)
        if folder is None:
            raise UserError(f"no CelebA images in '{Path(root) / IMAGES}': {WAY_OUT}")
        if split is None:
            self.paths = list_images(folder / IMAGES)
        else:
            self.paths = _paths_of_split(folder, check_split(split))
        self.crop_px, self.size_px, self.seed = crop_px, size_px, seed
        self.flip = flip and split == "train"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: SampleKey | int) -> CleanImage:
        """Read one face; a plain integer means epoch 0."""
        epoch, index = as_key(key)
        path = self.paths[index]
        x = crop_and_resize(read_image(path), self.crop_px, self.size_px, str(path))
        if self.flip and torch.rand((), generator=generator_of(self.seed, epoch, index)) < 0.5:
            x = x.flip(-1)
        return CleanImage(x, index, path.stem, epoch)


def _paths_of_split(folder: Path, split: str) -> list[Path]:
    """List the images that the partition file assigns to ``split``; all of them must exist."""
    splits = read_partition(folder / PARTITION)
    names = sorted(name for name, of in splits.items() if of == split)
    if not names:
        raise UserError(f"'{folder / PARTITION}' gives no image to the {split} split: {WAY_OUT}")
    missing = sorted(set(names) - set(os.listdir(folder / IMAGES)))
    if missing:
        raise UserError(
            f"{len(missing)} of {len(names)} {split} images are missing from '{folder / IMAGES}', "
            f"the first is {missing[0]}: unpack the archive again, or use data=folder"
        )
    return [folder / IMAGES / name for name in names]
