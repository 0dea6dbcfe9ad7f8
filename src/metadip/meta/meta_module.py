"""Meta-training as a LightningModule: adapt, take an outer step, validate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from metadip.callbacks import FitCallback
from metadip.fitting import MomentumSGD, Sum, fit
from metadip.meta.learners import Learner
from metadip.metrics import psnr_db
from metadip.priors import Representation
from metadip.types import FitResult, FitState, InverseProblem, UserError

GROUPS = ("weights", "step_sizes", "latent")  # of the outer optimiser, in order


def check_trainable(prior: Representation, problems: Sequence[InverseProblem]) -> None:
    """Raise ``UserError`` if the operator of a task is hidden, or its images do not fit a prior."""
    for problem in problems:
        if problem.unknown:
            raise UserError(
                "training needs tasks whose operator is known, and this one hides "
                f"{', '.join(problem.unknown)}: tell it (task.known=true) or train on another task"
            )
        if not _suits(prior, channels := problem.image_shape[0]):
            raise UserError(
                f"the task has images of {channels} channels, and the prior makes "
                f"{prior.image_channels}: train on another task, or a prior of {channels}"
            )


def _suits(prior: Representation, channels: int) -> bool:
    """Return whether a prior makes images of so many channels as it is."""
    try:
        return prior.with_channels(channels) is prior
    except ValueError:
        return False


@dataclass(frozen=True)
class OuterSettings:
    """Settings of the outer optimiser, Adam with a cosine schedule.

    Args:
        weight_lr: outer step size of theta_0.
        step_size_lr: outer step size of log alpha_k and of the momentum's logit.
        latent_lr: outer step size of the parameters of the inputs, such as the noise in z; 0 keeps
            them as drawn.
        final_fraction: the cosine ends at this fraction of each step size, in [0, 1].
        warmup_steps: outer steps of linear increase before the cosine.
        step_size_delay_steps: outer steps before the increase of ``step_size_lr`` begins.
        clip_norm: bound on the norm of the outer gradient, above 0.
    Raises:
        ValueError: If an argument is outside the range given here.
    """

    weight_lr: float
    step_size_lr: float
    latent_lr: float
    final_fraction: float
    warmup_steps: int
    step_size_delay_steps: int
    clip_norm: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        lowest = min(
            self.step_size_lr, self.latent_lr, self.warmup_steps, self.step_size_delay_steps
        )
        if min(self.weight_lr, self.clip_norm) <= 0 or lowest < 0:
            raise ValueError(f"outer step sizes and clip_norm must be positive, got {self}")
        if not 0 <= self.final_fraction <= 1:
            raise ValueError(f"final_fraction must be in [0, 1], got {self.final_fraction}")

    def schedule(self, total_steps: int, *, delay_steps: int = 0) -> Callable[[int], float]:
        """Return the factor on a step size at each outer step, its warm-up delayed if asked for."""

        def factor(step: int) -> float:
            warm = min(max(step + 1 - delay_steps, 0) / max(self.warmup_steps, 1), 1.0)
            done = (step - self.warmup_steps) / max(total_steps - self.warmup_steps, 1)
            cosine = 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))
            return warm * (self.final_fraction + (1 - self.final_fraction) * cosine)

        return factor


class MetaModule(pl.LightningModule):
    """Learn theta_0, the step sizes and the momentum from which fits of a few steps succeed.

    Model:
        min over theta_0, alpha, mu of E ||f_theta_K(z) - x||^2 / n, with theta_K the weights after
        K momentum steps on the objective of a measurement of x. Only the outer loss sees the clean
        image.
    Shape:
        A batch is a list of ``InverseProblem``, one task each.
    Args:
        prior: a learned representation.
        optimizer: the inner rule, whose step sizes and momentum are learned too.
        objective: the inner loss.
        learner: the engine.
        outer: the outer optimiser's settings.
        val_steps: steps at which validation reports the PSNR; the last one is the length of the
            validation fit.
    Raises:
        ValueError: If ``val_steps`` is empty, negative or not increasing.
    References:
        Zhang et al. (2022), MetaDIP, arXiv:2209.08452.
    """

    skipped_batches: Tensor

    def __init__(
        self,
        prior: Representation,
        *,
        optimizer: MomentumSGD,
        objective: Sum,
        learner: Learner,
        outer: OuterSettings,
        val_steps: Sequence[int] = (0, 5, 10, 20, 50),
    ) -> None:
        from torchmetrics import MeanMetric

        super().__init__()
        if not val_steps or list(val_steps) != sorted(set(val_steps)) or val_steps[0] < 0:
            raise ValueError(f"val_steps must increase from 0 or more, got {list(val_steps)}")
        self.prior, self.inner_optimizer, self.objective = prior, optimizer, objective
        self.learner, self.outer, self.val_steps = learner, outer, tuple(val_steps)
        for parameter in self._others():
            parameter.requires_grad_(outer.latent_lr > 0)
        self.val_psnr = torch.nn.ModuleList(MeanMetric() for _ in self.val_steps)
        self.val_picture: tuple[InverseProblem, FitResult] | None = None
        self.register_buffer("skipped_batches", torch.zeros((), dtype=torch.int64))

    def _others(self) -> list[torch.nn.Parameter]:
        """Return the parameters of the prior other than its weights: those of its inputs."""
        weights = self.prior.weights
        return [p for name, p in self.prior.named_parameters() if name not in weights]

    @property
    def description(self) -> dict[str, Any]:
        """The plain description in a checkpoint, enough to rebuild the prior."""
        return {
            "representation": self.prior.description,
            "optimizer": self.inner_optimizer.description,
            "objective": self.objective.description,
            "image_px": self.prior.learned_px,
            "steps": self.val_steps[-1],
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description."""
        checkpoint["metadip"] = self.description

    def training_step(self, batch: list[InverseProblem], batch_idx: int) -> Tensor:
        """Return the mean outer loss of the batch's tasks."""
        check_trainable(self.prior, batch)
        loss, step_errors = self.learner.outer_loss(
            self.prior,
            self.inner_optimizer,
            self.objective,
            batch,
            outer_step=self.trainer.global_step,
        )
        psnr_db = (-10 * step_errors[:, -1].log10()).mean()
        self.log("train/outer_loss", loss, batch_size=len(batch))
        self.log("train/psnr_db", psnr_db, prog_bar=True, batch_size=len(batch))
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the outer gradient; skip and count a step whose gradient is not finite.

        The gradient has already been averaged over processes, so that all of them decide alike.
        Adam skips weights without a gradient.
        """
        groups = zip(GROUPS, optimizer.param_groups, strict=False)
        moved = {name: [p for p in g["params"] if p.grad is not None] for name, g in groups}
        norms = {name: get_total_norm([p.grad for p in ps]) for name, ps in moved.items() if ps}
        norm = torch.stack(list(norms.values())).norm()
        if bool(torch.isfinite(norm)):
            clip_grads_with_norm_(chain(*moved.values()), self.outer.clip_norm, norm)
        else:
            optimizer.zero_grad(set_to_none=True)
            self.skipped_batches += 1
        self.log("train/outer_grad_norm", norm)
        for name, share in norms.items():
            self.log(f"train/outer_grad_norm_{name}", share)
        self.log("train/skipped_batches", self.skipped_batches.float())

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Clamp the step sizes to their bounds before they are averaged or saved."""
        super().optimizer_step(*args, **kwargs)
        self.inner_optimizer.clamp_()

    def on_train_batch_end(self, outputs: Any, batch: list[InverseProblem], batch_idx: int) -> None:
        """Log the step sizes."""
        with torch.no_grad():
            mean_lr = self.inner_optimizer.log_lr.exp().mean(dim=1)
            self.log("train/first_inner_lr", mean_lr[0])
            self.log("train/last_inner_lr", mean_lr[-1])
            self.log("train/inner_momentum", self.inner_optimizer.momentum_logit.sigmoid())

    def validation_step(self, batch: list[InverseProblem], batch_idx: int) -> None:
        """Fit each validation task from the current start for the last of ``val_steps``."""
        check_trainable(self.prior, batch)
        results = fit(
            batch,
            self.prior,
            self.objective,
            self.inner_optimizer,
            steps=self.val_steps[-1],
            hooks=[_SnapshotPSNR(self.val_steps, self.val_psnr)],
        )
        if batch_idx == 0:
            self.val_picture = (batch[0], results[0])

    def on_validation_epoch_end(self) -> None:
        """Log the mean PSNR over all validation images and processes."""
        for step, metric in zip(self.val_steps, self.val_psnr, strict=True):
            mean = metric.compute()  # type: ignore[operator]  # a MeanMetric; synchronises processes
            metric.reset()  # type: ignore[operator]
            self.log(f"val/psnr_{step}_db", mean, rank_zero_only=False)
        self.log("val/psnr_db", mean, prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return Adam with a step size for each of ``GROUPS``, all scheduled."""
        total = int(self.trainer.estimated_stepping_batches)
        usual = self.outer.schedule(total)
        late = self.outer.schedule(total, delay_steps=self.outer.step_size_delay_steps)
        parts = [
            (self.prior.weights.values(), self.outer.weight_lr, usual),
            (self.inner_optimizer.parameters(), self.outer.step_size_lr, late),
            (self._others(), self.outer.latent_lr, usual),
        ][: 3 if self.outer.latent_lr else 2]
        adam = torch.optim.Adam([{"params": list(ps), "lr": lr} for ps, lr, _ in parts])
        scheduler = torch.optim.lr_scheduler.LambdaLR(adam, [factor for *_, factor in parts])
        return {"optimizer": adam, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class _SnapshotPSNR(FitCallback):
    """Record the PSNR of validation fits at the given steps."""

    def __init__(self, steps: Sequence[int], metrics: torch.nn.ModuleList) -> None:
        self.metrics = dict(zip(steps, metrics, strict=True))

    def on_step_end(self, state: FitState) -> None:
        """Add each active image's PSNR to the metric of this step."""
        if state.step not in self.metrics:
            return
        for row, image in enumerate(state.active.tolist()):
            truth = state.problems[image].x
            if truth is not None:
                psnr = psnr_db(state.x_hat[row : row + 1], truth)
                self.metrics[state.step].update(psnr.nan_to_num(0.0))  # type: ignore[operator]
