"""Loggers that need more than their constructor."""

from __future__ import annotations

import netrc
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger


def wandb_logger(save_dir: str, *, project: str, name: str | None) -> WandbLogger:
    """Return Lightning's W&B logger: online if a key is found, else offline.

    ``WANDB_MODE`` decides if it is set. With neither it nor a key, one line says that nothing
    leaves the machine.

    Args:
        save_dir: run folder; W&B makes its own folder ``wandb`` there.
        project: W&B project.
        name: run name, None for W&B's choice.
    """
    from lightning.pytorch.loggers import WandbLogger
    from lightning.pytorch.utilities import rank_zero_only

    mode = os.environ.get("WANDB_MODE")
    offline = mode in ("offline", "dryrun", "disabled") or (mode is None and not _has_wandb_key())
    if offline and mode is None:
        rank_zero_only(print)(
            f"wandb: no key found, logging offline to {save_dir}/wandb; "
            "`wandb sync` uploads it later"
        )
    return WandbLogger(project=project, name=name, save_dir=save_dir, offline=offline)


def _has_wandb_key() -> bool:
    """Return whether W&B can log in, with a key in the environment or from ``wandb login``."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False
