"""Where the problems of a run come from, and how a trainer gets them."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Subset

from metadip import config
from metadip.data import ImageFolder, image_shape, seed_of_name
from metadip.methods import image_shape_of
from metadip.signals import handle
from metadip.tasks import MeasurementFolder, OwnOperator, ReconstructionTask
from metadip.types import InverseProblem, UserError

if TYPE_CHECKING:
    from metadip.methods import Method

CHECK_S = 5.0  # seconds spent on reading files before the first fit
EXAMPLE_PX = 16  # side of the example picture, measured to see what a task is


class ProblemSource(Protocol):
    """A map-style data set of problems, made on request."""

    names: list[str]
    """Names of the images in results."""

    def __getitem__(self, index: int, /) -> InverseProblem:
        """Return one problem."""
        ...

    def check(self, index: int, *, whole: bool) -> None:
        """Reject a bad file, judged by its header or after reading it whole."""
        ...

    def files(self, index: int) -> list[Path]:
        """Return the files that one problem is read from."""
        ...


class SimulatedProblems:
    """Measure the images of a folder with a task.

    Model:
        Operator and noise come from the run's seed and the name of the file, so that an image is
        measured the same alone and in a folder.
    Args:
        images: the ground truths.
        task: measures them; or the user's own operator.
        seed: seed of the run.
    """

    def __init__(
        self, images: ImageFolder, task: ReconstructionTask | OwnOperator, *, seed: int
    ) -> None:
        self.images, self.task, self.seed = images, task, seed
        self.names = images.names

    def __getitem__(self, index: int) -> InverseProblem:
        """Read and measure one image, with ordinary tensors even in inference mode."""
        with torch.inference_mode(False):
            image = self.images[index]
            seed = seed_of_name(self.seed, self.images.paths[index].name)
            return self.task.measure(image.x[None], seed=seed, name=image.name)

    def check(self, index: int, *, whole: bool) -> None:
        """Reject files that are not images, and images too large for the task."""
        if whole:
            self.images[index]
        _, height, width = image_shape(self.images.paths[index])
        if self.images.size_px is not None:
            height = width = self.images.size_px
        self.task.check_size((self.images.channels_of(index), height, width))

    def check_served(self, index: int, method: Method, *, task: str) -> None:
        """Reject a method that cannot do the task on such an image, by a small one if that does."""
        x = torch.full((1, self.images.channels_of(index), EXAMPLE_PX, EXAMPLE_PX), 0.5)
        try:
            method.check(self.task.measure(x, seed=0), task=task)
        except UserError:  # a mask or a kernel that fits the images alone
            method.check(self[index], task=task)

    def files(self, index: int) -> list[Path]:
        """Return the file of one image."""
        return [self.images.paths[index]]


class ProblemData(pl.LightningDataModule):
    """Give a trainer problems to solve, in order.

    Args:
        source: all problems.
        left: indices of the problems to solve.
        batch_size: problems solved together if weights are stacked; otherwise each is its own
            batch, so that its result is written as soon as it is ready.
        stacked: whether weights are stacked; None stacks them on a GPU.
    """

    def __init__(
        self, source: ProblemSource, *, left: Sequence[int], batch_size: int, stacked: bool | None
    ) -> None:
        super().__init__()
        self.source, self.left = source, list(left)
        self.batch_size, self.stacked = batch_size, stacked

    def predict_dataloader(self) -> DataLoader[InverseProblem]:
        """Return the problems."""
        assert self.trainer is not None
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        together = on_gpu if self.stacked is None else self.stacked
        return DataLoader(
            Subset(self.source, self.left),  # type: ignore[arg-type]  # map-style by protocol
            batch_size=self.batch_size if together else 1,
            collate_fn=list,
            generator=torch.Generator(),  # otherwise each pass draws from the global generator
        )

    def transfer_batch_to_device(
        self, batch: list[InverseProblem], device: torch.device, dataloader_idx: int
    ) -> list[InverseProblem]:
        """Move problems, outside inference mode: a fit differentiates through operators."""
        with torch.inference_mode(False):
            return [problem.to(device) for problem in batch]


class EndOnSignals(pl.Callback):
    """End a run at once on a signal; Lightning's own handlers let a prediction go on.

    Processes that were started for a share of the work end with their starter, or at once when
    they are terminated themselves.
    """

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Handle signals; Lightning restores the handlers at the end."""
        if parent_process() is None:
            handle()
        else:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def problems_of(cfg: config.Config, method: Method) -> ProblemSource:
    """Return the problems named by the settings.

    Raises:
        UserError: If settings contradict each other, or files are missing.
    """
    if cfg.physics is None and not cfg.rescale:
        raise UserError("rescale=false goes with physics=: other problems know their scale")
    if cfg.measurement is None:
        return _simulated(cfg, method)
    if cfg.image_size is not None:
        raise UserError(
            f"image_size={cfg.image_size} goes with input=: a measurement keeps its size"
        )
    return MeasurementFolder(
        str(cfg.measurement), reader=_task_of(cfg), truth=cfg.truth, seed=cfg.seed
    )


def check_problems(source: ProblemSource) -> None:
    """Reject bad files before hours of work on others.

    Files are read whole during the first ``CHECK_S`` seconds; after that, only the headers.

    Raises:
        UserError: If a file cannot be read or does not fit.
    """
    end = time.monotonic() + CHECK_S
    for index in range(len(source.names)):
        source.check(index, whole=index == 0 or time.monotonic() < end)


def check_served(source: ProblemSource, method: Method, *, task: str) -> None:
    """Reject methods that cannot do the task, by an example: a small picture or a measurement.

    Raises:
        UserError: If the method cannot do the task.
    """
    if isinstance(source, SimulatedProblems):
        source.check_served(0, method, task=task)
    else:
        method.check(source[0], task=task)


def _simulated(cfg: config.Config, method: Method) -> SimulatedProblems:
    if cfg.truth is not None:
        raise UserError(f"truth={cfg.truth} goes with measurement=, not with input=")
    images = ImageFolder(
        str(cfg.input),
        split=None,
        channels=1 if method.image_channels == 1 else None,
        crop_px=None,
        size_px=cfg.image_size,
        flip=False,
        seed=cfg.seed,
    )
    source = SimulatedProblems(images, _task_of(cfg), seed=cfg.seed)
    grey = next((i for i in range(len(images)) if images.channels_of(i) == 1), None)
    if images.channels is None and grey is not None:
        try:
            source.check_served(grey, method, task="task")
        except UserError:  # in colour it may: demosaicking, a denoiser for colour
            images.channels = 3
    return source


def _task_of(cfg: config.Config) -> ReconstructionTask | OwnOperator:
    """Return the user's own operator if given, else the task."""
    if cfg.physics is not None:
        return OwnOperator(
            str(cfg.physics), image_shape_of=image_shape_of, rescale=bool(cfg.rescale)
        )
    task: ReconstructionTask = config.build(cfg.task)
    return task
