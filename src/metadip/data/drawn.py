"""Images that are drawn by a computer: random ellipses, and pure noise."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from metadip.data.splits import SPLITS, check_split
from metadip.seeding import SampleKey, as_key, generator_of
from metadip.types import CleanImage

EPOCH_IMAGES = 4096  # ellipses have no end; this many are called an epoch
FEWEST, MOST = 5, 40  # ellipses in an image
LONGEST = 0.4  # half axis, of the side of the image


class Ellipses(Dataset[CleanImage]):
    """Draw images of random ellipses, which networks for tomography are trained on.

    Model:
        5 to 40 ellipses, each with a uniform centre, half axes U(0, 0.4)^2 of the side squared
        (small ones are many), turn and a colour U(-1, 1) that is added inside; the sum is moved
        to have its lowest value at 0 and divided by its largest. Training images differ in every
        epoch; those of the splits are independent.
    Shape:
        Item: ``x`` (channels, size_px, size_px) in [0, 1].
    Args:
        split: train, val or test.
        channels: 3, or 1 for grey.
        size_px: side, at least 1.
        seed: fixes every image.
    Raises:
        ValueError: If ``split`` is unknown, or a number below 1.
    References:
        Barbano et al. (2021), An Educated Warm Start for Deep Image Prior-based Micro CT
        Reconstruction, arXiv:2111.11926 (pretraining on ellipses).
    """

    def __init__(self, *, split: str, channels: int, size_px: int, seed: int) -> None:
        if channels < 1 or size_px < 1:
            raise ValueError(
                f"channels and size_px must be at least 1, got {channels} and {size_px}"
            )
        self.split, self.channels = check_split(split), channels
        self.size_px, self.seed = size_px, seed

    def __len__(self) -> int:
        return EPOCH_IMAGES

    def __getitem__(self, key: SampleKey | int) -> CleanImage:
        """Draw one image; a plain integer means epoch 0."""
        epoch, index = as_key(key)
        epoch = epoch if self.split == "train" else 0
        generator = generator_of(self.seed, SPLITS.index(self.split), epoch, index)
        x = drawn_ellipses(self.channels, self.size_px, generator)
        return CleanImage(x=x, index=index, name=f"ellipses{index:04d}", epoch=epoch)


def drawn_ellipses(channels: int, size_px: int, generator: torch.Generator) -> Tensor:
    """Return an image (channels, size_px, size_px) of random ellipses; see ``Ellipses``."""
    count = int(torch.randint(FEWEST, MOST + 1, (), generator=generator))
    centre_y, centre_x, height, width, turn = torch.rand((5, count), generator=generator)
    colours = 2 * torch.rand((count, channels), generator=generator) - 1
    side = (torch.arange(size_px) + 0.5) / size_px
    y, x = torch.meshgrid(side, side, indexing="ij")
    image = torch.zeros(channels, size_px, size_px)
    for i in range(count):
        angle = math.pi * float(turn[i])
        dy, dx = y - centre_y[i], x - centre_x[i]
        along = math.cos(angle) * dx + math.sin(angle) * dy
        across = math.cos(angle) * dy - math.sin(angle) * dx
        a, b = (LONGEST * axis[i] ** 2 + 1 / size_px for axis in (height, width))
        inside = (along / a).square() + (across / b).square() <= 1
        image += colours[i, :, None, None] * inside
    image = image - image.amin()
    largest: Tensor = image.amax().clamp(min=1e-6)
    return image / largest


class PureNoise(Dataset[CleanImage]):
    """One image of uniform noise, which no prior should be able to fit quickly.

    Shape:
        Item: ``x`` (channels, size_px, size_px), U(0, 1).
    Args:
        channels: of the image, at least 1.
        size_px: side, at least 1.
        seed: fixes the image.
    Raises:
        ValueError: If a number is below 1.
    """

    names: ClassVar[list[str]] = ["noise"]

    def __init__(self, *, channels: int, size_px: int, seed: int) -> None:
        if channels < 1 or size_px < 1:
            raise ValueError(
                f"channels and size_px must be at least 1, got {channels} and {size_px}"
            )
        self.shape, self.seed = (channels, size_px, size_px), seed

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: SampleKey | int) -> CleanImage:
        """Draw the image, the same in every epoch."""
        epoch, index = as_key(key)
        if index:
            raise IndexError(f"there is one image, asked for number {index}")
        x = torch.rand(self.shape, generator=generator_of(self.seed))
        return CleanImage(x=x, index=0, name="noise", epoch=epoch)
