"""Set up the process of a run: threads, quiet libraries, Lightning's trainer."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import torch

from metadip import config
from metadip.types import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def trainer_of(cfg: config.Config, **extra: Any) -> Trainer:
    """Build Lightning's trainer.

    Raises:
        UserError: If Lightning rejects the devices or another setting on this machine.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    try:
        trainer: Trainer = config.build(cfg.trainer, **extra)
    except MisconfigurationException as error:
        asked = (
            f"trainer.devices={cfg.trainer.devices} trainer.accelerator={cfg.trainer.accelerator}"
        )
        raise UserError(f"{asked}: {' '.join(str(error).split())}") from error
    return trainer


def prepare_process(cfg: config.Config) -> None:
    """Set the number of threads and silence the libraries."""
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.")
