"""Fits inside Lightning's predict, which shards over devices, shows progress and logs."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

from metadip.callbacks import FitCallback
from metadip.methods.method import Method
from metadip.types import FitResult, InverseProblem


class FitModule(pl.LightningModule):
    """Solve each problem of a predict batch, watched by the trainer's ``FitCallback`` callbacks.

    Shape:
        A batch is a list of ``InverseProblem``; a prediction is a list of ``FitResult``.
    Args:
        method: the reconstruction method.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def predict_step(self, batch: list[InverseProblem], batch_idx: int) -> list[FitResult]:
        """Solve the problems; no process waits for another."""
        hooks = [hook for hook in self.trainer.callbacks if isinstance(hook, FitCallback)]  # type: ignore[attr-defined]
        return self.method.reconstruct(batch, hooks=hooks)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move problems to the device, operators included."""
        if isinstance(batch, list) and all(
            isinstance(problem, InverseProblem) for problem in batch
        ):
            return [problem.to(device) for problem in batch]
        return super().transfer_batch_to_device(batch, device, dataloader_idx)
