"""Recover from a collapse of meta-training: return to the best state and reduce the step sizes."""

from __future__ import annotations

import copy
import math
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from metadip.meta.weight_average import WeightAverage

MONITOR = "val/psnr_db"


class CollapseGuard(pl.Callback):
    """Return to the best validated state when the validation PSNR falls far below its best.

    Everything that is learned, its average if one is kept, and the state of the outer Adam are
    restored; the outer step sizes shrink for the rest of the run. Steps and data continue: tasks
    are not repeated. All processes decide alike, because the PSNR is averaged over them.

    Args:
        max_drop_db: how far the validation PSNR may fall below the best so far, above 0.
        lr_factor: factor on the outer step sizes at each return, in (0, 1].
        after_steps: outer steps before the guard is active, at least 0: long fits from untrained
            weights are not bad, so validation falls before it rises.
    Raises:
        ValueError: If an argument is outside the range given here.
    Cost:
        One more copy of everything learned and of Adam's state, in memory and in checkpoints.
    """

    def __init__(self, max_drop_db: float, *, lr_factor: float, after_steps: int) -> None:
        if not max_drop_db > 0:
            raise ValueError(f"max_drop_db must be above 0, got {max_drop_db}")
        if not 0 < lr_factor <= 1:
            raise ValueError(f"lr_factor must be in (0, 1], got {lr_factor}")
        if after_steps < 0:
            raise ValueError(f"after_steps must be at least 0, got {after_steps}")
        self.max_drop_db, self.lr_factor, self.after_steps = max_drop_db, lr_factor, after_steps
        self.rollbacks, self.best_db = 0, -math.inf
        self.best: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state needed to resume."""
        return {"rollbacks": self.rollbacks, "best_db": self.best_db, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.rollbacks, self.best_db = state_dict["rollbacks"], state_dict["best_db"]
        self.best = state_dict["best"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Log how often the guard has acted."""
        pl_module.log("train/guard_rollbacks", float(self.rollbacks))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep a new best, or go back to it; Lightning saves its checkpoints after this."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        if trainer.global_step < self.after_steps:
            return
        psnr_db = float(trainer.callback_metrics[MONITOR])
        if psnr_db > self.best_db:
            self.best_db, self.best = psnr_db, _snapshot(trainer, pl_module)
        elif self.best and not psnr_db >= self.best_db - self.max_drop_db:  # NaN too
            _restore(trainer, pl_module, self.best)
            _scale_rates(trainer, self.lr_factor)
            self.rollbacks += 1
            rank_zero_only(print)(
                f"guard: validation fell from {self.best_db:.2f} to {psnr_db:.2f} dB at outer step "
                f"{trainer.global_step}; back to the best, outer rates times {self.lr_factor}"
            )


def _learned(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Tensor]:
    """Return every tensor that training updates, by name."""
    tensors: dict[str, Tensor] = dict(module.named_parameters())
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAverage):
            tensors |= callback.tensors()
    return tensors


def _snapshot(trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Any]:
    tensors = {name: t.detach().clone() for name, t in _learned(trainer, module).items()}
    return {
        "tensors": tensors,
        "adam": copy.deepcopy(trainer.optimizers[0].state_dict()["state"]),
    }


@torch.no_grad()
def _restore(trainer: pl.Trainer, module: pl.LightningModule, best: dict[str, Any]) -> None:
    learned, optimizer = _learned(trainer, module), trainer.optimizers[0]
    for name in learned.keys() & best["tensors"].keys():
        learned[name].copy_(best["tensors"][name])
    groups = optimizer.state_dict()["param_groups"]
    # A copy: the optimiser updates the tensors that it is given in place.
    optimizer.load_state_dict({"state": copy.deepcopy(best["adam"]), "param_groups": groups})


def _scale_rates(trainer: pl.Trainer, factor: float) -> None:
    """Scale the step sizes of the next step, and the initial ones that the schedule starts from."""
    for group in trainer.optimizers[0].param_groups:
        group["lr"] *= factor
    for config in trainer.lr_scheduler_configs:
        config.scheduler.base_lrs = [rate * factor for rate in config.scheduler.base_lrs]
