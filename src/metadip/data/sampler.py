"""Which images are drawn in an epoch, and which process gets which."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import Sampler

from metadip.seeding import SampleKey, generator_of


class TaskSampler(Sampler[SampleKey]):
    """Draw ``epoch_size`` images per epoch and deal them to the processes like cards.

    Model:
        Position i of the epoch goes to rank i mod world_size, so that one process with a batch of 2
        and two processes with a batch of 1 see the same images in each step. No image is
        repeated as padding.
        Shuffled: as many permutations in a row as the epoch needs, cut to a multiple of world_size.
        Pass p over the images has its own epoch number in the key, so that no noise or patch is
        repeated; with one pass per epoch that number is the epoch. Not shuffled: the first images
        in order, always epoch 0; ranks may differ by one image.
    Args:
        n_images: size of the data set, at least 1.
        epoch_size: images per epoch over all processes; None takes all. Capped at
            ``n_images`` without shuffling.
        shuffle: training (True) or a fixed order (False).
        seed: seed of the permutations.
        rank, world_size: index of this process, and number of processes.
        progress: returns the epoch and how many of its images this process has seen, so that
            resumed training continues exactly where it ended; None follows ``set_epoch``.
    Raises:
        ValueError: If ``n_images`` or ``epoch_size`` is below 1, ``rank`` is outside [0,
            world_size), or a shuffled epoch has fewer images than processes.
    """

    def __init__(
        self,
        n_images: int,
        *,
        epoch_size: int | None,
        shuffle: bool,
        seed: int,
        rank: int,
        world_size: int,
        progress: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        if n_images < 1 or (epoch_size is not None and epoch_size < 1):
            raise ValueError(
                f"n_images is {n_images} and epoch_size {epoch_size}, must be at least 1"
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}, must be in [0, {world_size})")
        size = n_images if epoch_size is None else epoch_size
        if shuffle and size < world_size:
            raise ValueError(f"epoch of {size} images for {world_size} processes: raise epoch_size")
        self.n_images, self.shuffle, self.seed = n_images, shuffle, seed
        self.rank, self.world_size, self.epoch = rank, world_size, 0
        self.progress = progress
        self.n_passes = -(-size // n_images)
        self.total = size - size % world_size if shuffle else min(size, n_images)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch to draw next; Lightning calls this, with one too many after resuming."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(range(self.rank, self.total, self.world_size))

    def __iter__(self) -> Iterator[SampleKey]:
        seen = 0
        if self.progress is not None:
            self.epoch, seen = self.progress()
        return iter(self.keys()[self.rank :: self.world_size][seen:])

    def keys(self) -> list[SampleKey]:
        """Return the whole epoch over all processes, in order."""
        if not self.shuffle:
            return [SampleKey(0, index) for index in range(self.total)]
        keys: list[SampleKey] = []
        for number in range(self.epoch * self.n_passes, (self.epoch + 1) * self.n_passes):
            order = torch.randperm(self.n_images, generator=generator_of(self.seed, number))
            keys += [SampleKey(number, index) for index in order.tolist()]
        return keys[: self.total]
