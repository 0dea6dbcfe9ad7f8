"""The number of threads, from batch to batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import lightning.pytorch as pl
import torch

from metadip.runs.process import threads_of_size

if TYPE_CHECKING:
    from metadip.types import InverseProblem


class ThreadsBySize(pl.Callback):
    """Let the number of threads follow the size of what is fitted, from batch to batch.

    Leave this callback out where the user gave a number of threads. One that the environment gives
    (``OMP_NUM_THREADS``) is the most that is used.

    Args:
        size_px: side of all images, where it is known; None takes that of each batch.
    """

    def __init__(self, size_px: int | None = None) -> None:
        self.size_px = size_px

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Note how many threads this process may use, and start with the known size."""
        self.available = torch.get_num_threads()
        if self.size_px is not None:
            self._set(self.size_px)

    def on_predict_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Sequence[InverseProblem],
        *_: object,
    ) -> None:
        """Set the threads for the largest image of the batch."""
        self._set(max(max(problem.image_shape[1:]) for problem in batch))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the threads back."""
        torch.set_num_threads(self.available)

    def _set(self, size_px: int) -> None:
        torch.set_num_threads(threads_of_size(size_px, available=self.available))
