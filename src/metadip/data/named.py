"""Chosen images of a folder, in a given order: standard test images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import Dataset

from metadip.data.images import crop_and_resize, read_image
from metadip.data.names import image_names
from metadip.data.patches import sample_picture
from metadip.seeding import SampleKey, as_key
from metadip.types import CleanImage, UserError


class NamedImages(Dataset[CleanImage]):
    """Read the named images of a folder.

    Shape:
        Item: ``x`` (channels, H, W); square if ``crop_px`` or ``size_px`` is given, else the file's
        own size.
    Args:
        root: the folder; None for the pictures that come with scikit-image.
        files: paths below it, in order, at least one.
        channels: 3, or 1 for luminance.
        crop_px, size_px: see ``crop_and_resize``.
    Raises:
        UserError: If a file is missing, or ``files`` is empty.
    """

    def __init__(
        self,
        root: str | None,
        *,
        files: Sequence[str],
        channels: int,
        crop_px: int | None,
        size_px: int | None,
    ) -> None:
        if not files:
            raise UserError("files is empty: name at least one image")
        if root is None:
            self.paths = [sample_picture(file) for file in files]
        else:
            self.paths = [Path(root, file) for file in files]
            if missing := [file for file in files if not Path(root, file).is_file()]:
                raise UserError(f"folder '{root}' lacks {', '.join(missing)}: add the image there")
        self.names = image_names(self.paths, self.paths[0].parent if root is None else root)
        self.channels, self.crop_px, self.size_px = channels, crop_px, size_px

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: SampleKey | int) -> CleanImage:
        """Read one image; a plain integer means epoch 0."""
        epoch, index = as_key(key)
        path = self.paths[index]
        shrunk_to = self.size_px if self.crop_px is None else None
        x = read_image(path, channels=self.channels, size_px=shrunk_to)
        x = crop_and_resize(x, self.crop_px, self.size_px, str(path))
        return CleanImage(x, index, self.names[index], epoch)
