"""The pictures and numbers of a report, in Weights & Biases."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metadip.report.loggers import wandb_logger
from metadip.report.run_page import MOST_IMAGES
from metadip.report.writer import COLUMNS

PROJECT = "metadip"
PICTURES = ("measured", "reconstruction", "comparison", "curves")


def log_run(out: Path, metrics: Mapping[str, Any], *, single: bool) -> None:
    """Log what ``report.html`` shows of a run of ``infer.py``: a table, and pictures by kind.

    Args:
        out: run folder; W&B makes its own folder ``wandb`` there.
        metrics: content of ``metrics.json``.
        single: whether the pictures of its only image lie in ``out`` itself.
    """
    entries = metrics["images"]
    rows = [[entry.get(key) for key in COLUMNS] for entry in entries]
    named = [(entry["name"], out if single else out / entry["name"]) for entry in entries]
    pictures = {
        kind: [(name, file) for name, folder in named[:MOST_IMAGES]
               if (file := folder / f"{kind}.png").is_file()]
        for kind in PICTURES
    }  # fmt: skip
    mean = {f"mean/{key}": value for key, value in metrics["mean"].items() if value is not None}
    _log(out, {"images": (list(COLUMNS), rows)}, pictures, mean)


def log_table(out: Path) -> None:
    """Log what a run of ``benchmark.py`` left in ``out``: its tables and figures."""
    tables = {}
    for name in ("summary", "results"):
        with (out / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            columns, *rows = csv.reader(file)
        tables[name] = columns, rows
    figures = [(file.stem, file) for file in sorted(out.glob("*.png"))]
    _log(out, tables, {"figures": figures}, {})


def _log(
    out: Path,
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[Any]]]],
    pictures: Mapping[str, Sequence[tuple[str, Path]]],
    numbers: Mapping[str, float],
) -> None:
    """Log everything as one run, and end it."""
    logger = wandb_logger(str(out), project=PROJECT, name=out.resolve().name)
    for key, (columns, rows) in tables.items():
        logger.log_table(key, columns=list(columns), data=[list(row) for row in rows])
    for key, shown in pictures.items():
        if shown:
            names, files = zip(*shown, strict=True)
            logger.log_image(key, images=[str(file) for file in files], caption=list(names))
    if numbers:
        logger.log_metrics(dict(numbers))
    logger.experiment.finish()
