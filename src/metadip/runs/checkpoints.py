"""The checkpoint to resume from: one file, always complete, that continues training exactly."""

from __future__ import annotations

import errno
import signal
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from metadip.checkpoint import read_checkpoint
from metadip.report import atomic_path
from metadip.signals import STOPPING, handle
from metadip.types import UserError

SIGNALS = (*STOPPING, signal.SIGUSR1)  # SLURM sends USR1 before the end
RESUMED = ("epoch", "global_step", "loops", "optimizer_states", "lr_schedulers", "callbacks")


def check_resumable(path: Path, module: nn.Module) -> None:
    """Reject a checkpoint that a training cannot be resumed from, before anything is written.

    Raises:
        UserError: If it cannot be read, or was made with another network or inner rule.
    """
    content = read_checkpoint(path)
    if missing := [key for key in RESUMED if key not in content]:
        raise not_resumable(path, f"it has no {missing[0]}")
    shapes, expected = (
        {name: tuple(tensor.shape) for name, tensor in state.items()}
        for state in (content["state_dict"], module.state_dict())
    )
    differ = [n for n in {**expected, **shapes} if shapes.get(n) != expected.get(n)]
    if differ:
        raise not_resumable(path, f"its network or inner rule is another one, see {differ[0]}")


def not_resumable(path: Path, reason: object) -> UserError:
    """Return the error for a checkpoint that does not fit the settings."""
    told = " ".join(str(reason).split())[:200]
    return UserError(
        f"ckpt={path} cannot be resumed with these settings: {told}; "
        "give those of its run, or another out"
    )


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint to a temporary file and rename that, so that it is never partial.

    Lightning writes to the system's temporary folder; moving it to another disk is a copy.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Replace ``path`` atomically.

        Raises:
            UserError: If the disk is full or the folder cannot be written.
        """
        with atomic_path(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # PyTorch's writer tells of a full disk this way
                raise OSError(errno.ENOSPC, "the disk may be full") from error


class LastCheckpoint(Checkpoint):
    """Keep the newest checkpoint: each epoch, at intervals, and on a signal, which ends the run.

    Model:
        Saves only between two outer steps, where the state is consistent, and on all processes at
        the same step if any of them has to. Nothing is saved just before a validation, which
        resuming would skip. Lightning's signal handlers are replaced: they save within a step, or
        contact the other processes while these do not listen.
    Args:
        path: file to write, replaced each time.
        minutes: time between two checkpoints, at least 0; 0 saves after every outer step.
    ``began`` tells whether training has begun, with everything restored.

    Raises:
        SystemExit: If a signal arrived, as usual with 128 + its number; the other processes
            exit with 0, because Lightning kills all of them if one fails.
    """

    def __init__(self, path: str | Path, *, minutes: float) -> None:
        self.path, self.interval_s = Path(path), 60 * minutes
        self.received, self.step, self.saved_s, self.validates = 0, 0, 0.0, False
        self.began = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the timer and handle the signals; Lightning restores its handlers at the end."""
        self.began, self.step, self.saved_s = True, trainer.global_step, time.monotonic()
        handle(self._note, SIGNALS)

    def _note(self, number: int, frame: Any) -> None:
        """Remember the signal until the outer step ends."""
        self.received = number
        name = signal.Signals(number).name
        rank_zero_only(print)(f"{name}: will save and stop after this outer step", flush=True)
        if number == signal.SIGINT:
            handle(numbers=[signal.SIGINT])  # the second Ctrl-C stops at once

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save after an outer step if it is due, or if a process was told to stop."""
        loop, before, self.step = trainer.fit_loop, self.step, trainer.global_step
        self.validates = loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # type: ignore[arg-type]
        amid_step = self.step == before  # between the batches that one outer step accumulates
        if amid_step or self.validates or trainer.is_last_batch:
            return
        stop, due = self._agree(trainer)
        if stop or due:
            self._save(trainer)
        if stop:
            self._stop(trainer, stop)

    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save after a validation that ends an epoch, and at the end of training."""
        if not self.validates and not trainer.fit_loop.done:
            return  # Lightning would resume within the finished epoch
        self._save(trainer)
        if stop := self._agree(trainer)[0]:
            self._stop(trainer, stop)

    def _agree(self, trainer: pl.Trainer) -> tuple[int, bool]:
        """Return the signal that any process got, and whether any is due to save."""
        due = time.monotonic() - self.saved_s >= self.interval_s
        asked = torch.tensor([self.received, int(due)], device=trainer.strategy.root_device)
        number, save = trainer.strategy.reduce(asked, reduce_op="max").tolist()
        return int(number), bool(save)

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.saved_s = time.monotonic()

    def _stop(self, trainer: pl.Trainer, number: int) -> None:
        rank_zero_only(print)(
            f"stopped by {signal.Signals(number).name} after outer step {trainer.global_step}; "
            "ckpt=auto goes on from there"
        )
        raise SystemExit(128 + number if trainer.is_global_zero else 0)
