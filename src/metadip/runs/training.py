"""Meta-train a prior as configured."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from metadip import config
from metadip.paths import TRAINED, check_paths
from metadip.runs.process import prepare_process, trainer_of, usable_precision
from metadip.types import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    from metadip.data import ImageDataModule
    from metadip.fitting import MomentumSGD
    from metadip.meta import MetaModule
    from metadip.priors import Representation
    from metadip.runs.checkpoints import LastCheckpoint


def train(cfg: config.Config) -> Path:
    """Meta-train a prior; return the file of the best one.

    Everything is checked before the run folder is touched.

    Raises:
        UserError: If settings are invalid, data or checkpoint cannot be read, the folder holds
            another training or is being written to, or the disk is full.
    """
    from metadip.report import locked, prepare_folder
    from metadip.runs.checkpoints import check_resumable, not_resumable

    config.check_settings(cfg)
    check_paths("train", cfg)
    config.check_whole("trainer.max_steps", cfg.trainer.max_steps, 1)
    prepare_process(cfg)
    out = Path(cfg.out)
    resumed = _resumed(cfg, out / "last.ckpt")
    data, module = _training_data(cfg), _meta_module(cfg)
    if resumed is not None:
        check_resumable(resumed, module)
    best, saver, trainer = _trainer(cfg, out)
    prepare_folder(out)
    with locked(out) if trainer.is_global_zero else nullcontext():
        if trainer.is_global_zero:
            _open_folder(cfg, out, resumed)
        try:
            trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if resumed is None or saver.began:
                raise
            raise not_resumable(resumed, error) from error
    released = out / "prior.safetensors"
    if trainer.is_global_zero:
        _release(released, _best_of(out, best.best_model_path))
        print(f"prior: {released}, validation {float(best.best_model_score or 'nan'):.2f} dB")
    return released


def _trainer(cfg: config.Config, out: Path) -> tuple[ModelCheckpoint, LastCheckpoint, Trainer]:
    """Return the trainer, with its callbacks that save the best and the last checkpoint."""
    from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint

    from metadip.meta import ValidationPicture
    from metadip.runs.checkpoints import AtomicCheckpointIO, LastCheckpoint
    from metadip.runs.threads import ThreadsBySize

    best = ModelCheckpoint(
        out, filename="best", monitor="val/psnr_db", mode="max", enable_version_counter=False
    )
    saver = LastCheckpoint(out / "last.ckpt", minutes=cfg.checkpoint_minutes)
    callbacks = [
        best,
        saver,
        LearningRateMonitor("step"),
        ValidationPicture(out),
        *([] if cfg.threads else [ThreadsBySize(cfg.image_size)]),
        *(config.build(node) for node in cfg.stability.values()),
    ]
    precision, accelerator = str(cfg.trainer.precision), str(cfg.trainer.accelerator)
    if precision.startswith("bf16"):
        cfg.trainer.precision = usable_precision(
            "trainer.precision", precision, accelerator=accelerator, plain="32-true"
        )
    trainer = trainer_of(cfg, logger=config.build(cfg.logger), callbacks=callbacks)
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    return best, saver, trainer


def _open_folder(cfg: config.Config, out: Path, resumed: Path | None) -> None:
    """Move away what this run would replace without being its continuation."""
    from metadip.report import keep_earlier, remove_leftovers, save_provenance

    remove_leftovers(out)
    keep_earlier(out / "metrics.csv")
    kept = None if resumed is None else resumed.resolve()
    if kept is None or kept.parent != out.resolve():
        for name in TRAINED:
            keep_earlier(out / name)
    elif kept.name != "last.ckpt":
        keep_earlier(out / "last.ckpt")  # otherwise ckpt=auto could mistake it for this run's
    save_provenance(out, config_yaml=config.to_yaml(cfg))


def _resumed(cfg: config.Config, last: Path) -> Path | None:
    """Return the checkpoint that this run resumes from, None for a new run."""
    from lightning.pytorch.utilities import rank_zero_only

    if cfg.ckpt == "auto":
        what = f"resuming {last}" if last.is_file() else f"no {last} yet, a new run"
        rank_zero_only(print)(f"ckpt=auto: {what}", flush=True)
        return last if last.is_file() else None
    return None if cfg.ckpt is None else Path(cfg.ckpt)


def _best_of(out: Path, best_model_path: str) -> Path:
    """Return the best checkpoint, even if the run folder was moved; otherwise the last one."""
    if not best_model_path:
        return out / "last.ckpt"
    best = Path(best_model_path)
    return best if best.is_file() else out / "best.ckpt"


def _release(path: Path, checkpoint: str | Path) -> None:
    """Write the released form of a checkpoint."""
    from metadip.checkpoint import save_prior

    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    save_prior(path, content["state_dict"], content["metadip"])


def _meta_module(cfg: config.Config) -> MetaModule:
    """Build the module to train, with weights drawn from the seed."""
    from metadip.meta import MetaModule

    untrained = config.build(cfg.prior, learned=True, learned_px=cfg.image_size)
    prior: Representation = untrained.drawn(cfg.seed)
    parts = {name: config.build(cfg[name]) for name in ("objective", "learner", "outer")}
    if "n_steps" not in cfg.optimizer:
        raise UserError(
            f"optimizer={cfg.choices.optimizer} has no step sizes to learn: "
            "train with optimizer=momentum_sgd"
        )
    if cfg.optimizer.beyond == "adam" and cfg.optimizer.n_steps < cfg.learner.inner_steps:
        raise UserError(
            f"optimizer.n_steps={cfg.optimizer.n_steps} must be at least learner.inner_steps="
            f"{cfg.learner.inner_steps}: training does not go through the handover to Adam"
        )
    optimizer = config.build(cfg.optimizer, prior=prior)
    if cfg.start is not None:
        _begin_at(str(cfg.start), prior, optimizer)
    try:
        return MetaModule(prior, optimizer=optimizer, val_steps=cfg.val_steps, **parts)
    except (ValueError, TypeError) as error:
        raise UserError(f"val_steps: {error}") from error


def _begin_at(start: str, prior: Representation, optimizer: MomentumSGD) -> None:
    """Copy weights, latent, step sizes and momentum from a prior that was learned before."""
    from metadip.checkpoint import load_prior

    try:
        learned = load_prior(start)
    except UserError as error:
        raise UserError(str(error).replace("ckpt=", "start=", 1)) from error
    try:
        prior.adopt(learned.prior)
    except ValueError as error:
        old, new = config.leaves(learned.prior.description), config.leaves(prior.description)
        changed = [f"prior.{key}" for key in new | old if old.get(key) != new.get(key)]
        raise UserError(
            f"start={start} is another network or latent than prior=...: set its "
            f"{', '.join(changed)}"
        ) from error
    optimizer.adopt(learned.optimizer)


def _training_data(cfg: config.Config) -> ImageDataModule:
    """Build the tasks to learn from; bad data is found here, before the run folder is made."""
    data: ImageDataModule = config.build(cfg.data, task=config.build(cfg.task), seed=cfg.seed)
    data.val_task = config.build(cfg.val_task)
    data.prepare_data()
    data.setup("fit")
    return data
