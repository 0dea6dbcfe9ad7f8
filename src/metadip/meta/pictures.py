"""Pictures at every validation, to watch training."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from metadip.fitting import MomentumSGD
from metadip.meta.meta_module import MetaModule


class ValidationPicture(pl.Callback):
    """Show the learned step sizes and one validation task.

    The task is shown as truth, measurement (if it is an image) and reconstruction. The pictures go
    to the logger if it accepts images (W&B does), else to ``out/validation``.

    Args:
        out: run folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out

    @rank_zero_only
    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **_: Any
    ) -> None:
        """Write or log the pictures when the first validation batch ends."""
        if not isinstance(pl_module, MetaModule) or pl_module.val_picture is None:
            return
        problem, result = pl_module.val_picture
        pl_module.val_picture = None
        restored = problem.read(result.x_hat)
        shown = [problem.x, problem.y, restored]
        panels = [x for x in shown if x is not None and x.shape == restored.shape]
        picture = torch.cat(panels, dim=-1)[0].clamp(0, 1).cpu()
        self._show(trainer, "reconstruction", picture)
        self._show(trainer, "step_sizes", step_size_picture(pl_module.inner_optimizer))

    def _show(self, trainer: pl.Trainer, name: str, picture: Tensor) -> None:
        step = trainer.global_step
        log_image = getattr(trainer.logger, "log_image", None)
        if log_image is not None:
            log_image(key=f"val/{name}", images=[picture], step=step)
            return
        from torchvision.utils import save_image

        folder = self.out / "validation"
        folder.mkdir(parents=True, exist_ok=True)
        save_image(picture, folder / f"{name}_{step:06d}.png")


def step_size_picture(rule: MomentumSGD) -> Tensor:
    """Plot the step sizes of every weight tensor over the steps, and their geometric mean.

    Shape:
        (3, H, W), in [0, 1].
    """
    from matplotlib.figure import Figure
    from matplotlib.image import imread
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 3.6), dpi=120, layout="constrained")
    ax = figure.add_subplot()
    log_lr = rule.log_lr.detach().float().cpu()
    steps = range(1, len(log_lr) + 1)
    ax.plot(steps, log_lr.exp().numpy(), color="#7a7a7a", linewidth=0.4, alpha=0.7)
    ax.plot(steps, log_lr.mean(dim=1).exp().numpy(), color="#1f5fa8", linewidth=2.5)
    for bound in rule.lr_bounds:
        ax.axhline(bound, color="#d1662c", linestyle=":", linewidth=1)
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("inner step")
    ax.set_ylabel("step size")
    ax.set_title(
        f"step sizes: weight tensors, geometric mean (thick), bounds (dotted); "
        f"momentum {rule.momentum_logit.sigmoid().item():.3f}",
        fontsize=8,
    )
    with io.BytesIO() as file:
        figure.savefig(file, format="png")
        file.seek(0)
        pixels = torch.from_numpy(imread(file, format="png"))  # (H, W, 4)
    return pixels[..., :3].permute(2, 0, 1)
