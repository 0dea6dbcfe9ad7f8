"""A folder of images and a deepinv operator, as deepinv's benchmarks have them."""

from __future__ import annotations

from typing import Any, ClassVar

import deepinv
import torch
from benchopt import BaseDataset
from benchopt.config import get_data_path

from metadip.data import ImageFolder, SampleKey


class Images(torch.utils.data.Dataset[torch.Tensor]):
    """The first images of a folder, centre crops resized, (3, side, side)."""

    def __init__(self, root: str, *, size_px: int, count: int) -> None:
        self.images = ImageFolder(
            root, split=None, channels=3, crop_px=None, size_px=size_px, flip=False, seed=0
        )
        self.count = min(count, len(self.images))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[SampleKey(0, index)].x


class Dataset(BaseDataset):  # type: ignore[misc]  # benchopt has no types
    """Images in ``local_images`` of benchopt's data folder, noisy or with pixels lost."""

    name = "local_images"
    parameters: ClassVar = {"physics": ["Denoising", "Inpainting"], "img_size": [64], "count": [3]}
    test_parameters: ClassVar = {"physics": ["Denoising"], "count": [1]}

    def get_data(self) -> dict[str, Any]:
        """Return images and operator."""
        noise = deepinv.physics.GaussianNoise(25 / 255)
        physics = {
            "Denoising": lambda: deepinv.physics.Denoising(noise),
            "Inpainting": lambda: deepinv.physics.Inpainting(
                (3, self.img_size, self.img_size), mask=0.5
            ),
        }[self.physics]()
        root = str(get_data_path("local_images"))
        return {
            "dataset": Images(root, size_px=self.img_size, count=self.count),
            "physics": physics,
        }
