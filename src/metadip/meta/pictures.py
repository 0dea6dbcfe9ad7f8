"""A picture at every validation, so that training can be watched."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from metadip.meta.meta_module import MetaModule


class ValidationPicture(pl.Callback):
    """Show truth, measurement (where it is an image) and reconstruction of one validation task.

    The picture goes to the logger if it takes images (W&B does), else to ``out/validation``.

    Args:
        out: run folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out

    @rank_zero_only
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write or log the picture of the last validation."""
        if not isinstance(pl_module, MetaModule) or pl_module.val_picture is None:
            return
        problem, result = pl_module.val_picture
        shown = [problem.x, problem.y, result.x_hat]
        panels = [x for x in shown if x is not None and x.shape == result.x_hat.shape]
        self._show(trainer, torch.cat(panels, dim=-1)[0].clamp(0, 1).cpu(), trainer.global_step)

    def _show(self, trainer: pl.Trainer, picture: Tensor, step: int) -> None:
        log_image = getattr(trainer.logger, "log_image", None)
        if log_image is not None:
            log_image(key="val/reconstruction", images=[picture], step=step)
            return
        from torchvision.utils import save_image

        folder = self.out / "validation"
        folder.mkdir(parents=True, exist_ok=True)
        save_image(picture, folder / f"step_{step:06d}.png")
