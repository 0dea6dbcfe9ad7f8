"""The cells of a benchmark table: one method on one task, image set, image and seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from metadip.types import UserError

Cell = dict[str, Any]
Curve = Sequence[float | None]

IDENTITY = ("method", "task", "set", "image", "seed")
CURVES = ("psnr_db", "psnr_raw_db")  # of the output, and of a single step
# So that a method reaches its own result despite rounding.
TOLERANCE_DB = 1e-3


@dataclass(frozen=True, kw_only=True)
class Table:
    """Describe what a benchmark table shows, in order.

    Args:
        name: name of the configuration.
        title: title of the report.
        methods: key -> label, from top to bottom.
        tasks: key -> label.
        sets: image sets, key -> label.
        reference: method that the others are compared with, image by image.
        published: method -> task -> set -> PSNR in dB, where a paper reports one.
        not_run: method -> why it has no results, in one line.
        notes: lines about data, noise, hardware, command.
        claims: claims of the paper, as ``judged_claims`` returns them.
    Raises:
        UserError: If ``reference``, ``published`` or ``not_run`` names a method not in ``methods``.
    """

    name: str
    title: str
    methods: Mapping[str, str]
    tasks: Mapping[str, str]
    sets: Mapping[str, str]
    reference: str
    published: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    claims: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        for method in (self.reference, *self.published, *self.not_run):
            if method not in self.methods:
                raise UserError(
                    f"table '{self.name}' has no method '{method}'; "
                    f"choose from {', '.join(self.methods)}"
                )

    def places(self) -> Iterator[tuple[str, str]]:
        """Yield every (task, set)."""
        return ((task, images) for task in self.tasks for images in self.sets)

    def published_db(self, method: str, task: str, images: str) -> float | None:
        """Return the PSNR that the paper reports, if it does."""
        return self.published.get(method, {}).get(task, {}).get(images)


def read_cells(out: Path) -> list[Cell]:
    """Return the finished cells below a folder, each with its ``id``, ordered by it.

    Raises:
        UserError: If a file is not a cell.
    """
    found = (_read_cell(file) for file in sorted((out / "cells").glob("[!.]*.json")))
    return [cell for cell in found if cell is not None]


def _read_cell(file: Path) -> Cell | None:
    try:
        cell = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None  # another process has just started to redo it
    except (OSError, ValueError):
        cell = None
    if not isinstance(cell, dict) or (missing := [key for key in IDENTITY if key not in cell]):
        lacks = "JSON" if not isinstance(cell, dict) else ", ".join(missing)
        raise UserError(f"'{file}' is no finished cell (no {lacks}); delete it and run again")
    return {**cell, "id": file.stem}


def judge(cells: Sequence[Cell], table: Table) -> list[Cell]:
    """Return the cells of a table in its order, with steps and time of each to the reference.

    See ``measured_against``.
    """
    order = {key: i for i, key in enumerate(product(table.methods, table.tasks, table.sets))}
    shown = measured_against(table.reference, [cell for cell in cells if _key(cell) in order])
    return sorted(shown, key=lambda cell: (order[_key(cell)], cell["image"], cell["seed"]))


def measured_against(reference: str, cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells with steps and time of each to the result of a reference method.

    ``steps_to_reference`` is the first step of either curve that reaches the PSNR of the reference
    method's result on the same problem; ``seconds_to_reference`` is the same fraction of the
    time of the fit. Both are None if that never happens; ``judged`` is False if it cannot be known,
    for want of a curve or a reference.
    """
    targets = {problem_of(c): c.get("psnr_db") for c in cells if c["method"] == reference}
    return [cell | _way(cell, targets.get(problem_of(cell))) for cell in cells]


def _key(cell: Cell) -> tuple[str, str, str]:
    return cell["method"], cell["task"], cell["set"]


def _way(cell: Cell, target_db: float | None) -> Cell:
    curves = list(curves_of(cell).values())
    if target_db is None or not curves:
        return {"judged": False, "steps_to_reference": None, "seconds_to_reference": None}
    reached = (
        step
        for curve in curves
        for step, value in enumerate(curve)
        if value is not None and value >= target_db - TOLERANCE_DB
    )
    step = min(reached, default=None)
    timed = step is not None and cell.get("seconds") is not None and cell.get("steps")
    seconds = cell["seconds"] * step / cell["steps"] if timed else None
    return {"judged": True, "steps_to_reference": step, "seconds_to_reference": seconds}


def problem_of(cell: Cell) -> tuple[Any, ...]:
    """Return what identifies the problem for all methods: task, set, image, seed."""
    return tuple(cell[key] for key in IDENTITY[1:])


def at_place(cells: Sequence[Cell], task: str, images: str) -> list[Cell]:
    """Return the cells of one task and set."""
    return [cell for cell in cells if (cell["task"], cell["set"]) == (task, images)]


def curves_of(cell: Cell) -> dict[str, Curve]:
    """Return the PSNR curves of a cell, in dB at each step from 0 on.

    Curves of two values, before and after a denoiser's only step, are left out.
    """
    curves = cell.get("curves") or {}
    return {
        name: curves[name]
        for name in CURVES
        if sum(value is not None for value in curves.get(name) or ()) > 2
    }


def picture_of(out: Path, cell: Cell) -> Path:
    """Return the path of the reconstruction."""
    return out / "cells" / f"{cell['id']}.png"


def truth_of(out: Path, cell: Cell) -> Path:
    """Return the path of the picture of the truth."""
    return Path(out, "cells", "truth", cell["set"], f"{cell['image']}.png")


def measured_of(out: Path, cell: Cell) -> Path:
    """Return the path of the picture of the measurement."""
    name = f"{cell['image']}_{cell['seed']}.png"
    return Path(out, "cells", "measured", cell["task"], cell["set"], name)
