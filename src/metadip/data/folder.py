"""Any folder of images as a data set."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.utils.data import Dataset

from metadip.data.images import crop_and_resize, image_shape, list_images, read_image
from metadip.data.names import image_names
from metadip.data.splits import images_of_split
from metadip.seeding import SampleKey, as_key, generator_of
from metadip.types import CleanImage, UserError


class ImageFolder(Dataset[CleanImage]):
    """Read all images below a folder, ordered by relative path.

    Shape:
        Item: ``x`` (channels, H, W); square if ``crop_px`` or ``size_px`` is given, else the file's
        own size.
    Args:
        root: the folder.
        split: train, val or test, see ``images_of_split``; None takes every image.
        channels: 3, or 1 for luminance; None: 1 for grey files, 3 for others.
        crop_px, size_px: see ``crop_and_resize``.
        flip: mirror half of the training images, and no others, drawn by (seed, epoch, index).
        seed: seed of the random choices.
    Raises:
        ValueError: If ``split`` is unknown.
        UserError: If the folder is missing or empty, or has no images for this split.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str | None,
        channels: int | None,
        crop_px: int | None,
        size_px: int | None,
        flip: bool,
        seed: int,
    ) -> None:
        self.paths = list_images(root) if split is None else images_of_split(root, split)
        if not self.paths and split is None:
            raise UserError(f"folder '{root}' holds no images that can be opened: add some")
        if not self.paths:
            place = Path(root) / str(split)
            raise UserError(f"folder '{root}' has no images for {split}: add them in '{place}'")
        self.names = image_names(self.paths, root)
        self.channels, self.crop_px, self.size_px = channels, crop_px, size_px
        self.flip, self.seed = flip and split == "train", seed

    def __len__(self) -> int:
        return len(self.paths)

    def channels_of(self, index: int) -> int:
        """Return the number of channels of one image."""
        if self.channels is not None:
            return self.channels
        return 1 if image_shape(self.paths[index])[0] == 1 else 3

    def __getitem__(self, key: SampleKey | int) -> CleanImage:
        """Read one image; a plain integer means epoch 0."""
        epoch, index = as_key(key)
        path = self.paths[index]
        shrunk_to = self.size_px if self.crop_px is None else None
        x = read_image(path, channels=self.channels_of(index), size_px=shrunk_to)
        x = crop_and_resize(x, self.crop_px, self.size_px, str(path))
        if self.flip and torch.rand((), generator=generator_of(self.seed, epoch, index)) < 0.5:
            x = x.flip(-1)
        return CleanImage(x, index, self.names[index], epoch)
