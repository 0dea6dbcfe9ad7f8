"""Reconstruct images or measurements as configured."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from metadip import config
from metadip.paths import check_paths
from metadip.runs.process import prepare_process, trainer_of, usable_precision
from metadip.types import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from metadip.fitting import Execution
    from metadip.methods import FitReconstructor, Method
    from metadip.runs.problems import ProblemSource
    from metadip.runs.sharing import Place

SHEET_IMAGES = 1000  # at most this many on a contact sheet
TILE_PX = 128  # side of an image on it
GIF_FRAMES = 60  # in the animation of a fit
SHARED_S = 30.0  # seconds of work from which it is shared: a process takes some 10 s to start


def infer(cfg: config.Config) -> dict[str, Any]:
    """Reconstruct an image, a folder or measurements; return the content of ``metrics.json``."""
    from metadip.report import locked, prepare_folder
    from metadip.runs.continuing import open_folder
    from metadip.runs.problems import check_problems, check_served, problems_of
    from metadip.runs.sharing import places_of

    config.check_settings(cfg)
    check_paths("infer", cfg)
    prepare_process(cfg)
    _show_log()
    cfg.fit.precision = usable_precision(
        "fit.precision",
        str(cfg.fit.precision),
        accelerator=str(cfg.trainer.accelerator),
        plain="32",
    )
    method = build_method(cfg)
    source, places = problems_of(cfg, method), places_of(cfg)
    _check_trust(cfg, method)
    check_problems(source)
    check_served(source, method, task=_task_of(cfg))
    with locked(prepare_folder(cfg.out)):
        open_folder(cfg, source)
        _solve_all(cfg, method, source, places)
        return _summarise(cfg, source.names)


def _check_trust(cfg: config.Config, method: Method) -> None:
    from metadip.methods.fit_module import starts_learned

    if cfg.trust is not None and not starts_learned(method):
        raise UserError(
            f"trust={cfg.trust} is for learned priors, not for method={cfg.choices.method}: "
            "leave it out"
        )


def _solve_all(
    cfg: config.Config, method: Method, source: ProblemSource, places: Sequence[Place]
) -> None:
    """Solve what is not finished, in several processes where that is asked for or worth it."""
    from metadip.runs.continuing import left_to_do
    from metadip.runs.sharing import AUTO, run_processes

    left, n_images = left_to_do(cfg, source.names), len(source.names)
    if len(left) < n_images:
        print(f"{n_images - len(left)} of {n_images} images were finished before and stay")
    if len(places) > 1 and len(left) > 1 and cfg.trainer.devices == AUTO:
        begin = time.monotonic()
        _solve(cfg, method, source, left[:1], places[0], cfg.progress)
        left = left[1:]
        if len(left) * (time.monotonic() - begin) < SHARED_S:
            places = places[:1]
    places = places[: len(left)]
    if len(places) > 1:
        shares = [
            (cfg, method, source, left[k :: len(places)], place, False)
            for k, place in enumerate(places)
        ]
        with _images_bar(cfg, [source.names[index] for index in left]) as watch:
            run_processes(_solve, shares, watch=watch)
    elif left:
        _solve(cfg, method, source, left, places[0], cfg.progress)


def _solve(
    cfg: config.Config,
    method: Method,
    source: ProblemSource,
    left: Sequence[int],
    place: Place,
    progress: bool,
) -> None:
    """Solve the problems ``left`` in this process, maybe one started for it; write the results."""
    from metadip.methods import FitModule
    from metadip.runs.problems import ProblemData

    prepare_process(cfg)
    callbacks = _callbacks(cfg, single=len(source.names) == 1, progress=progress)
    trainer = trainer_of(cfg, devices=place, callbacks=callbacks)
    data = ProblemData(source, left=left, batch_size=cfg.fit.batch_size, stacked=cfg.fit.stacked)
    module = FitModule(method, exact=cfg.exact, trust=cfg.trust)
    trainer.predict(module, data, return_predictions=False)


def _callbacks(cfg: config.Config, *, single: bool, progress: bool) -> list[Callback]:
    """Return the callbacks that watch the fits and write their results, in order."""
    from metadip.callbacks import FitProgress, OraclePSNR
    from metadip.report import FitGif, ResultWriter
    from metadip.runs.problems import EndOnSignals
    from metadip.runs.threads import ThreadsBySize

    out = Path(cfg.out)
    gif = [FitGif(out, single=single, frames=GIF_FRAMES)] if cfg.gif else []
    bar = [FitProgress(refresh_steps=1, leave=False)] if progress else []
    threads = [] if cfg.threads else [ThreadsBySize()]
    watching = [OraclePSNR(), *gif, EndOnSignals(), ResultWriter(out, single=single)]
    return [*threads, *watching, *bar]


@contextmanager
def _images_bar(cfg: config.Config, names: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Show how many images are finished; yield what brings the bar up to date."""
    from tqdm import tqdm

    from metadip.report import missing_entries

    hidden = None if cfg.progress else True  # None: hidden unless stderr is a terminal
    with tqdm(total=len(names), unit="image", leave=False, disable=hidden) as bar:

        def update() -> None:
            if not bar.disable:
                bar.update(len(names) - len(missing_entries(Path(cfg.out), names)) - bar.n)

        yield update


class _EachOnce(logging.StreamHandler[Any]):
    """Print each message once: files are looked at several times before and during a run."""

    def __init__(self) -> None:
        super().__init__()
        self.told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message that was not printed before."""
        message = record.getMessage()
        if message not in self.told:
            self.told.add(message)
            super().emit(record)


def _show_log() -> None:
    """Print what is logged on files, memory and sizes; users of the library set up logging."""
    logger = logging.getLogger("metadip")
    logger.setLevel(logging.INFO)
    for handler in [h for h in logger.handlers if isinstance(h, _EachOnce)]:
        logger.removeHandler(handler)  # that of an earlier run
    if not logger.handlers:
        logger.addHandler(_EachOnce())


def _task_of(cfg: config.Config) -> str:
    """Return the setting by which the user chose the task."""
    return f"physics={cfg.physics}" if cfg.physics else f"task={cfg.choices.task}"


def build_method(cfg: config.Config) -> Method:
    """Build the method, with the settings of ``fit`` and ``callbacks`` that it accepts.

    Raises:
        UserError: If a setting is out of range, or the update rule is for training.
    """
    if "n_steps" in cfg.optimizer:
        raise UserError(
            f"optimizer={cfg.choices.optimizer} is for training: leave it out; the priors of "
            "method=metadip bring it, with its step sizes"
        )
    arguments, extra = config.arguments_of(cfg.method._target_), dict[str, Any]()
    if "steps" in arguments:
        if cfg.method.steps is not None:
            config.check_whole("method.steps", cfg.method.steps, 0)
        extra |= {} if cfg.fit.steps is None else {"steps": cfg.fit.steps}
    if "execution" in arguments:
        extra["execution"] = _execution(cfg)
    if "callbacks" in arguments:
        extra["callbacks"] = [config.build(node) for node in cfg.callbacks.values()]
    method: Method = config.build(cfg.method, **extra)
    return method


def _execution(cfg: config.Config) -> Execution:
    """Return the execution settings of a fit."""
    from metadip.fitting import PRECISIONS, Backtracking, Execution

    precision, memory_gb = str(cfg.fit.precision), cfg.fit.memory_gb
    if precision not in PRECISIONS:
        raise UserError(f"fit.precision={precision} must be one of {', '.join(PRECISIONS)}")
    if memory_gb is not None:
        config.check_positive("fit.memory_gb", memory_gb)
    return Execution(
        stacked=cfg.fit.stacked,
        precision=precision,
        memory_bytes=None if memory_gb is None else memory_gb * 1e9,
        backtracking=Backtracking() if cfg.fit.backtracking else None,
        tile_px=cfg.fit.tile_px,
    )


def build_fit(cfg: config.Config) -> FitReconstructor:
    """Build a method that fits a network, with the settings of ``fit`` and its hooks.

    Raises:
        UserError: If the method fits no network; see also ``build_method``.
    """
    from metadip.methods import FitReconstructor

    method = build_method(cfg)
    if not isinstance(method, FitReconstructor):
        raise UserError(f"method={cfg.choices.method} fits no network: take metadip or dip")
    return method


def _summarise(cfg: config.Config, names: Sequence[str]) -> dict[str, Any]:
    """Merge the images' entries into ``metrics.json``; print the results and their folder."""
    from metadip.report import (
        contact_sheet,
        log_run,
        mean_entry,
        merge_entries,
        results_table,
        write_json,
        write_run_page,
    )

    out = Path(cfg.out)
    entries = merge_entries(out, names)
    metrics = {
        "images": entries,
        "mean": mean_entry(entries),
        "method": cfg.choices.method,
        "task": cfg.physics or cfg.choices.task,
        "ckpt": cfg.method.get("ckpt"),
        "seed": cfg.seed,
    }
    write_json(out / "metrics.json", metrics)
    if len(names) > 1:
        shown = sorted(names)[:SHEET_IMAGES]
        pictures = [_thumbnail(out / name / "reconstruction.png") for name in shown]
        contact_sheet(out / "contact_sheet.png", pictures, shown, tile_px=TILE_PX)
    if len(names) > 1 if cfg.report is None else cfg.report:
        write_run_page(out, metrics, single=len(names) == 1)
    if cfg.wandb:
        log_run(out, metrics, single=len(names) == 1)
    print(f"{results_table(metrics)}\nresults: {out}")
    return metrics


def _thumbnail(path: Path) -> Tensor:
    """Read a picture, shrunk to its tile so that a sheet of many does not fill the memory."""
    from torch.nn.functional import interpolate

    from metadip.data import read_image

    x = read_image(path)
    scale = TILE_PX / max(x.shape[-2:])
    if scale >= 1:
        return x
    height, width = (max(1, round(scale * side)) for side in x.shape[-2:])
    return interpolate(x[None], (height, width), mode="bilinear", antialias=True)[0]
