"""Summaries of the cells of each method: means, spreads, differences from the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Any

from metadip.report.benchmark.score_cells import Cell, Table, at_place, problem_of

Row = dict[str, Any]
MEANS = ("ssim", "nmse", "lpips", "seconds", "steps", "peak_memory_mb", "best_psnr_db", "best_step")


def summarize(table: Table, cells: Sequence[Cell]) -> list[Row]:
    """Return one row per task, set and method, in order, including those without results.

    Model:
        An image counts once: its seeds are averaged first. ``psnr_sd_db`` is the standard deviation
        over images (n - 1), ``difference_se_db`` the standard error of the mean difference from
        the reference over the images that both have. The median of ``steps_to_reference`` is over
        cells, with never counted as infinity; None if that is the median.
    """
    return [
        {"task": task, "set": images, "method": method}
        | {"published_db": table.published_db(method, task, images)}
        | _numbers(method, table.reference, at_place(cells, task, images))
        for task, images in table.places()
        for method in table.methods
    ]


def _numbers(method: str, reference: str, cells: Sequence[Cell]) -> Row:
    """Return the numbers of one method among the cells of one task and set."""
    own = [cell for cell in cells if cell["method"] == method]
    psnr = list(per_image(own, "psnr_db").values())
    differences = list(_differences(own, reference, cells).values()) if method != reference else []
    ways = [cell for cell in own if cell["judged"]]
    return {
        "images": len(psnr),
        "expected_images": len({cell["image"] for cell in cells}),
        "results": sum(cell.get("psnr_db") is not None for cell in own),
        "expected_results": len({problem_of(cell) for cell in cells}),
        "psnr_db": _mean(psnr),
        "psnr_sd_db": stdev(psnr) if len(psnr) > 1 else None,
        **{key: _mean(list(per_image(own, key).values())) for key in MEANS},
        "difference_db": _mean(differences),
        "difference_se_db": _standard_error(differences),
        "difference_images": len(differences),
        "steps_to_reference": _median([cell["steps_to_reference"] for cell in ways]),
        "seconds_to_reference": _median([cell["seconds_to_reference"] for cell in ways]),
        "judged": len(ways),
        "never": sum(cell["steps_to_reference"] is None for cell in ways),
    }


def per_image(cells: Sequence[Cell], key: str) -> dict[str, float]:
    """Return the mean over seeds of a number for each image that has one."""
    values: dict[str, list[float]] = {}
    for cell in cells:
        if cell.get(key) is not None:
            values.setdefault(cell["image"], []).append(cell[key])
    return {image: fmean(numbers) for image, numbers in values.items()}


def _differences(own: Sequence[Cell], reference: str, cells: Sequence[Cell]) -> Mapping[str, float]:
    """Return the gain over the reference on each image that both have."""
    theirs = {problem_of(c): c.get("psnr_db") for c in cells if c["method"] == reference}
    pairs = [(cell, cell.get("psnr_db"), theirs.get(problem_of(cell))) for cell in own]
    paired = [{**c, "gain": a - b} for c, a, b in pairs if a is not None and b is not None]
    return per_image(paired, "gain")


def best_methods(rows: Sequence[Row]) -> set[tuple[str, str, str]]:
    """Return the (task, set, method) with the highest mean PSNR, of those that have every result.

    A mean over fewer images does not compete: they may have been the easy ones.
    """
    best: dict[tuple[str, str], Row] = {}
    for row in rows:
        place = row["task"], row["set"]
        if (
            row["results"]
            and is_complete(row)
            and (place not in best or row["psnr_db"] > best[place]["psnr_db"])
        ):
            best[place] = row
    return {(*place, row["method"]) for place, row in best.items()}


def is_complete(row: Row) -> bool:
    """Return whether a method has a result wherever any method has one."""
    return bool(row["results"] == row["expected_results"])


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _standard_error(values: Sequence[float]) -> float | None:
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def _median(values: Sequence[float | None]) -> float | None:
    if not values:
        return None
    middle = median(math.inf if value is None else value for value in values)
    return middle if math.isfinite(middle) else None
