"""The finished cells of a run of benchmark.py as one CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metadip.report.benchmark.score_cells import measured_against, read_cells
from metadip.report.tables import write_csv
from metadip.types import UserError

COLUMNS = ("method", "task", "set", "image", "seed", "psnr_db", "ssim", "seconds", "steps",
           "best_psnr_db", "best_step", "made_on", "last_psnr_db", "nmse",
           "steps_to_reference")  # fmt: skip
NEVER = "never"
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


def write_cells(run: Path, path: Path, reference: str, *, keep: bool = False) -> None:
    """Write a row for each finished cell of a run; ``keep`` leaves the file's rows of other cells.

    ``steps_to_reference`` is the first step at which a cell is as good as the result of the method
    ``reference`` on the same problem, or "never"; it is left empty where that cannot be known.

    Raises:
        UserError: If the folder has no finished cells.
    """
    entries = measured_against(reference, read_cells(run))
    if not entries:
        raise UserError(f"{run} has no finished cells")
    further = [key for key in FURTHER if any(_entry(entry, key) is not None for entry in entries)]
    columns = [*COLUMNS, *further]
    rows: list[dict[str, Any]] = [
        {key: _rounded(key, _entry(entry, key)) for key in columns} | _of_curves(entry)
        for entry in sorted(entries, key=lambda e: [str(e[key]) for key in COLUMNS[:5]])
    ]
    if keep and path.is_file():
        with path.open(encoding="utf-8") as file:
            before = list(csv.DictReader(file))
        places = {_place(row) for row in rows}
        rows = sorted([*rows, *(row for row in before if _place(row) not in places)], key=_place)
        columns += [key for key in before[0] if key not in columns]
    write_csv(path, rows, columns)


def _place(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[key]) for key in COLUMNS[:5])


def _of_curves(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what the curves of a cell tell: its last single step, its way to the reference."""
    curve = entry.get("curves", {}).get("psnr_raw_db")
    found = {"last_psnr_db": _rounded("last_psnr_db", curve[-1])} if curve else {}
    if entry["judged"]:
        step = entry["steps_to_reference"]
        found["steps_to_reference"] = NEVER if step is None else step
    return found


def _entry(entry: dict[str, Any], key: str) -> Any:
    """Return a value of a cell by its dotted name, None if it has none."""
    found: Any = entry
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _rounded(key: str, value: Any) -> Any:
    return round(value, DIGITS[key]) if key in DIGITS and isinstance(value, float) else value
