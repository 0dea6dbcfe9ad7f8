"""From data sets to batches of inverse problems, the same on any number of workers and devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from metadip.data.sampler import TaskSampler
from metadip.data.splits import SPLITS, check_split
from metadip.seeding import SampleKey, seed_of
from metadip.types import CleanImage, InverseProblem, Task


class ImageSource(Protocol):
    """A map-style data set of clean images."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def __getitem__(self, key: SampleKey, /) -> CleanImage:
        """Return image ``key.index`` as drawn in ``key.epoch``."""
        ...


@dataclass(frozen=True)
class LoaderSettings:
    """How images are batched.

    Args:
        batch_size: training images per device and step, at least 1.
        val_batch_size: images per device and batch in validation, test and prediction, at least 1.
        epoch_size: training images per epoch over all devices, at least 1; None takes each image
            once.
        val_size, test_size: number of images to use, in order from the first, at least 1; None
            takes all.
        num_workers: worker processes per device, at least 0; 0 reads in the main process.
        together: training images in a row that share a task, its operator and noise level, at
            least 1: more are faster on a GPU where the prior works on them at once. Tasks of such
            images depend on their neighbours.
    Raises:
        ValueError: If a number is below its minimum.
    """

    batch_size: int
    val_batch_size: int
    epoch_size: int | None
    val_size: int | None
    test_size: int | None
    num_workers: int
    together: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, value in vars(self).items():
            lowest = 0 if name == "num_workers" else 1
            if value is not None and value < lowest:
                raise ValueError(f"{name} is {value}, must be at least {lowest}")


class ImageDataModule(LightningDataModule):
    """Yield batches of measured tasks: lists of ``InverseProblem`` on the device.

    Model:
        Workers read clean images; operator and noise are drawn after the transfer, by
        ``task.measure(x, seed=seed_of(seed, split, epoch, index))``. Validation, test and
        prediction (which reads the test split) always use epoch 0. A task is therefore the same
        for any batch size and any number of workers and devices, unless images share tasks
        (``LoaderSettings.together``). Run the Trainer with
        ``use_distributed_sampler=False``: the sampler shards by rank itself.
    Args:
        train, val, test: a data set, a function that makes it (called when first needed), or None.
        task: measures the images; None yields batches of ``CleanImage``.
        loader: batch sizes and limits.
        seed: seed of the image order and of every task.
        prepare: called once per machine before the data sets are made, for example a download.
    Attributes:
        val_task: if set, measures the validation images, so that training on a range of tasks is
            judged on one task.
    Raises:
        ValueError: If a loader is requested for a split that is None (validation returns no loader
            instead).
    """

    def __init__(
        self,
        train: ImageSource | Callable[[], ImageSource] | None,
        *,
        val: ImageSource | Callable[[], ImageSource] | None,
        test: ImageSource | Callable[[], ImageSource] | None,
        task: Task | None,
        loader: LoaderSettings,
        seed: int,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._sources = {"train": train, "val": val, "test": test}
        self._made: dict[str, ImageSource] = {}
        self.task, self.loader, self.seed, self._prepare = task, loader, seed, prepare
        self.val_task: Task | None = None

    def prepare_data(self) -> None:
        """Run ``prepare``, on one process per machine."""
        if self._prepare is not None:
            self._prepare()

    def setup(self, stage: str) -> None:
        """Make the data sets of a stage, so that bad data is found before anything is computed."""
        needed = {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ("test",))
        for split in needed:
            self.dataset(split)

    def dataset(self, split: str) -> ImageSource | None:
        """Return the clean images of a split, made on the first call."""
        source = self._sources[check_split(split)]
        if split not in self._made and source is not None:
            self._made[split] = source() if callable(source) else source
        return self._made.get(split)

    def train_dataloader(self) -> DataLoader[CleanImage]:
        """Return the training images, reshuffled each epoch."""
        return self._dataloader("train", self.loader.batch_size, self.loader.epoch_size)

    def val_dataloader(self) -> DataLoader[CleanImage] | list[DataLoader[CleanImage]]:
        """Return the same tasks at every validation; no loader without validation images."""
        if self.dataset("val") is None:
            return []
        return self._dataloader("val", self.loader.val_batch_size, self.loader.val_size)

    def test_dataloader(self) -> DataLoader[CleanImage]:
        """Return the test images in order."""
        return self._dataloader("test", self.loader.val_batch_size, self.loader.test_size)

    def predict_dataloader(self) -> DataLoader[CleanImage]:
        """Return the test images in order."""
        return self.test_dataloader()

    def _dataloader(self, split: str, batch_size: int, size: int | None) -> DataLoader[CleanImage]:
        dataset = self.dataset(split)
        if dataset is None:
            raise ValueError(f"this data module has no {split} images")
        sampler = TaskSampler(
            len(dataset),
            epoch_size=size,
            shuffle=split == "train",
            seed=self.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            progress=self._progress if split == "train" and self.trainer else None,
        )
        return DataLoader(
            dataset,  # type: ignore[arg-type]  # map-style by protocol, not by inheritance
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.loader.num_workers,
            persistent_workers=self.loader.num_workers > 0,
            collate_fn=list,
            generator=torch.Generator(),  # otherwise each pass draws from the global generator
        )

    def _progress(self) -> tuple[int, int]:
        """Return the training epoch and how many of its images this process has seen."""
        assert self.trainer is not None
        assert self.trainer.train_dataloader is not None
        accumulated = self.trainer.accumulate_grad_batches
        per_epoch = -(-len(self.trainer.train_dataloader) // accumulated)  # the last may have fewer
        epoch, steps = divmod(self.trainer.global_step, per_epoch)
        return epoch, steps * accumulated * self.loader.batch_size

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move the images; Lightning moves anything else."""
        if not _are_images(batch):
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        return [image._replace(x=image.x.to(device)) for image in batch]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Measure the images for the trainer's current stage."""
        if self.task is None or not _are_images(batch):
            return batch
        return self.measure(batch, self._stage_split())

    def measure(self, images: Sequence[CleanImage], split: str) -> list[InverseProblem]:
        """Turn clean images into tasks, with ordinary tensors even in inference mode.

        Raises:
            ValueError: If there is no task, or ``split`` is unknown.
        """
        task = self.val_task if split == "val" and self.val_task is not None else self.task
        if task is None:
            raise ValueError("this data module has no task to measure with")
        together = self.loader.together if split == "train" else 1
        problems: list[InverseProblem] = []
        with torch.inference_mode(False), torch.no_grad():
            for first in range(0, len(images), together):
                problems += self._measure(task, images[first : first + together], split)
        return problems

    def _measure(
        self, task: Task, images: Sequence[CleanImage], split: str
    ) -> list[InverseProblem]:
        """Measure images with the task, operator and noise level of the first one's seed."""
        code = SPLITS.index(check_split(split))
        seeds = [seed_of(self.seed, code, image.epoch, image.index) for image in images]
        x = torch.stack([image.x for image in images])
        problems = task.measure(x, seed=seeds[0], name=images[0].name).apart()
        return [
            replace(problem, seed=seed, name=image.name)
            for problem, seed, image in zip(problems, seeds, images, strict=True)
        ]

    def _stage_split(self) -> str:
        """Return the split that the trainer is reading."""
        if self.trainer is None or self.trainer.training:
            return "train"
        return "val" if self.trainer.validating or self.trainer.sanity_checking else "test"


def _are_images(batch: object) -> bool:
    return isinstance(batch, list) and all(isinstance(image, CleanImage) for image in batch)
