"""Reconstruct images or measurements as configured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from metadip import config
from metadip.runs.process import prepare_process, trainer_of
from metadip.types import UserError

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from metadip.data import ImageFolder
    from metadip.methods import FitReconstructor

SHEET_IMAGES = 100  # at most this many on a contact sheet


def infer(cfg: config.Config) -> dict[str, Any]:
    """Reconstruct an image, a folder, or a real measurement; return what ``metrics.json`` holds."""
    from metadip.callbacks import FitProgress, OraclePSNR
    from metadip.methods import FitModule
    from metadip.report import ResultWriter, forget_results, prepare_folder, save_provenance

    config.check_settings(cfg)
    prepare_process(cfg)
    method, out = build_method(cfg), Path(cfg.out)
    problems, names = _problems(cfg, method)
    trainer = trainer_of(cfg, callbacks=[OraclePSNR(), ResultWriter(out, single=len(names) == 1)])
    if trainer.is_global_zero:
        prepare_folder(out)
        save_provenance(out, config_yaml=config.to_yaml(cfg))
        forget_results(out, names)
        if cfg.progress:
            trainer.callbacks.append(  # type: ignore[attr-defined]  # the trainer's mixins hide it
                FitProgress(refresh_steps=1, leave=False)
            )
    trainer.predict(FitModule(method), problems, return_predictions=False)
    if not trainer.is_global_zero:
        return {}
    return _summarise(cfg, names, n_processes=trainer.world_size)


def build_method(cfg: config.Config) -> FitReconstructor:
    """Build the method with the settings of ``fit`` and its hooks."""
    from metadip.fitting.loop import PRECISIONS

    precision = str(cfg.fit.precision)
    if precision not in PRECISIONS:
        raise UserError(f"fit.precision={precision} must be one of {', '.join(PRECISIONS)}")
    method: FitReconstructor = config.build(cfg.method)
    if cfg.fit.steps is not None:
        method.steps = cfg.fit.steps
    config.check_whole("method.steps", method.steps, 0)
    method.stacked, method.precision = cfg.fit.stacked, precision
    method.callbacks = [config.build(node) for node in cfg.callbacks.values()]
    return method


def _problems(cfg: config.Config, method: FitReconstructor) -> tuple[DataLoader[Any], list[str]]:
    """Return the problems to solve, checked before anything is computed, and the images' names."""
    from torch.utils.data import DataLoader

    from metadip.data import ImageDataModule, ImageFolder, LoaderSettings
    from metadip.physics import load_measurement

    if (cfg.input is None) == (cfg.measurement is None):
        raise UserError(
            "give either input=IMAGE_OR_FOLDER to simulate a measurement of, or measurement=FILE"
        )
    task = config.build(cfg.task)
    channels = method.prior.image_channels
    if cfg.measurement is not None:
        problem = load_measurement(str(cfg.measurement), task)
        if problem.image_shape[0] != channels:
            raise UserError(
                f"{cfg.measurement} is of an image with {problem.image_shape[0]} channels, "
                f"the prior makes {channels}: choose another prior"
            )
        problem = replace(problem, seed=cfg.seed)
        return DataLoader([problem], batch_size=1, collate_fn=list), [problem.name]  # type: ignore[arg-type]
    if channels not in (1, 3):
        raise UserError(
            f"input= reads images of 1 or 3 channels, the prior makes {channels}: "
            "use measurement=FILE"
        )
    images = ImageFolder(
        str(cfg.input),
        split=None,
        channels=channels,
        crop_px=None,
        size_px=cfg.image_size,
        flip=False,
        seed=cfg.seed,
    )
    _check_images(images, task)
    loader = LoaderSettings(1, cfg.fit.batch_size, None, None, None, 0)
    data = ImageDataModule(None, val=None, test=images, task=task, loader=loader, seed=cfg.seed)
    return data, images.names  # type: ignore[return-value]


def _check_images(images: ImageFolder, task: Any) -> None:
    """Refuse an unreadable file or too large an operator now, before hours of work on others."""
    largest = max((images[index].x for index in range(len(images))), key=Tensor.numel)
    if getattr(task, "operator", None) == "gaussian":
        task.measure(largest[None], seed=0)


def _summarise(cfg: config.Config, names: Sequence[str], *, n_processes: int) -> dict[str, Any]:
    """Merge the images' entries into ``metrics.json`` and say what came out and where it is."""
    from metadip.data import read_image
    from metadip.report import (
        contact_sheet,
        mean_entry,
        merge_entries,
        missing_entries,
        results_table,
        write_json,
    )

    out = Path(cfg.out)
    # No barrier: it would give up after half an hour, and fits may stop hours apart. Lightning ends
    # this process if another one fails.
    while n_processes > 1 and missing_entries(out, names):
        time.sleep(0.2)
    entries = merge_entries(out, names)
    metrics = {
        "images": entries,
        "mean": mean_entry(entries),
        "method": cfg.choices.method,
        "task": cfg.choices.task,
        "ckpt": cfg.ckpt if "ckpt" in cfg.method else None,
        "seed": cfg.seed,
    }
    write_json(out / "metrics.json", metrics)
    if len(names) > 1:
        shown = sorted(names)[:SHEET_IMAGES]
        pictures = [read_image(out / name / "reconstruction.png") for name in shown]
        contact_sheet(out / "contact_sheet.png", pictures, shown)
    print(f"{results_table(metrics)}\nresults: {out}")
    return metrics
