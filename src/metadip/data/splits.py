"""Which images of a folder belong to training, validation and test."""

from __future__ import annotations

from pathlib import Path

import torch

from metadip.data.images import list_images
from metadip.seeding import generator_of
from metadip.types import UserError

SPLITS = ("train", "val", "test")
FRACTIONS = (0.8, 0.1, 0.1)  # for a folder without splits; at least one image each
FOLDER_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
LAYOUTS = ("{}", "images/{}", "data/images/{}", "BSR/BSDS500/data/images/{}", "DIV2K_{}_HR")
SPLIT_SEED = 0  # not the run's seed: test images stay test images in every run


def check_split(split: str) -> str:
    """Return ``split`` if it is known.

    Raises:
        ValueError: If ``split`` is not train, val or test.
    """
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}, must be one of {', '.join(SPLITS)}")
    return split


def split_folder(root: Path, split: str) -> Path | None:
    """Find the folder of a split: ``train``, ``images/train``, ``DIV2K_train_HR`` ..."""
    candidates = (root / layout.format(name) for layout in LAYOUTS for name in FOLDER_NAMES[split])
    return next((folder for folder in candidates if folder.is_dir()), None)


def images_of_split(root: str | Path, split: str) -> list[Path]:
    """List the images of one split of a folder, sorted by path.

    Model:
        If the folder has a subfolder for any split, the subfolders decide, and a split without one
        has no images. Otherwise all images are shuffled with a fixed seed and divided into 80 %
        train, 10 % val and 10 % test.
    Raises:
        ValueError: If ``split`` is not train, val or test.
        UserError: If the folder is missing or empty, or has no subfolders and fewer than three
            images.
    """
    check_split(split)
    root = Path(root)
    folders = {name: split_folder(root, name) for name in SPLITS}
    if any(folders.values()):
        folder = folders[split]
        return [] if folder is None else list_images(folder)
    paths = list_images(root)
    if len(paths) < len(SPLITS):
        raise UserError(
            f"'{root}' holds {len(paths)} image(s), too few to split into train, val and test: "
            "add images, or give it subfolders train, val and test"
        )
    n_val, n_test = (max(1, round(f * len(paths))) for f in FRACTIONS[1:])
    order = torch.randperm(len(paths), generator=generator_of(SPLIT_SEED)).tolist()
    parts = {
        "val": order[:n_val],
        "test": order[n_val : n_val + n_test],
        "train": order[n_val + n_test :],
    }
    return [paths[i] for i in sorted(parts[split])]
