"""The finished cells of a run of benchmark.py as one CSV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metadip.report.tables import write_csv
from metadip.types import UserError

COLUMNS = ("method", "task", "set", "image", "seed", "psnr_db", "ssim", "seconds", "steps",
           "best_psnr_db", "best_step", "made_on", "last_psnr_db", "nmse")  # fmt: skip
FURTHER = ("relative_error", "phase_psnr_db", "blind.kernel_similarity")  # where cells have them
DIGITS = {
    "relative_error": 4,
    "phase_psnr_db": 3,
    "blind.kernel_similarity": 4,
    "psnr_db": 3,
    "best_psnr_db": 3,
    "last_psnr_db": 3,
    "ssim": 4,
    "seconds": 3,
    "nmse": 5,
}


def write_cells(run: Path, path: Path) -> None:
    """Write a row for each finished cell of a run.

    Raises:
        UserError: If the folder has no finished cells.
    """
    entries = [json.loads(path.read_text()) for path in sorted((run / "cells").glob("*.json"))]
    if not entries:
        raise UserError(f"{run} has no finished cells")
    further = [key for key in FURTHER if any(_entry(entry, key) is not None for entry in entries)]
    columns = [*COLUMNS, *further]
    rows = [
        {key: _rounded(key, _entry(entry, key)) for key in columns} | _last_of(entry)
        for entry in sorted(entries, key=lambda e: [str(e[key]) for key in COLUMNS[:5]])
    ]
    write_csv(path, rows, columns)


def _last_of(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the PSNR of the last single step of a cell, if it has that curve."""
    curve = entry.get("curves", {}).get("psnr_raw_db")
    return {"last_psnr_db": _rounded("last_psnr_db", curve[-1])} if curve else {}


def _entry(entry: dict[str, Any], key: str) -> Any:
    """Return a value of a cell by its dotted name, None if it has none."""
    found: Any = entry
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _rounded(key: str, value: Any) -> Any:
    return round(value, DIGITS[key]) if key in DIGITS and isinstance(value, float) else value
