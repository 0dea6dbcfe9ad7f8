"""Single figures of the documents, from a CSV of results.

    It reaches <!-- value released_scores: column=psnr_db prior=photo task=cs digits=1 -->38.0<!-- end -->
    dB.

A figure is the mean of a column over the rows that agree with the words of the comment, or another
``statistic=`` (min, max, median, count); ``digits=`` are those after the point, 2 if not given.
With ``minus=`` another column is subtracted from it, row by row. With ``below=`` only values under
it enter; a count of them may be 0.
"""  # noqa: E501

from __future__ import annotations

import csv
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from metadip.types import UserError

VALUE = re.compile(r"(<!-- value (\w+): ?([^>]*?) ?-->)[^<\n]*(<!-- end -->)")
STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean, "median": statistics.median, "min": min, "max": max, "count": len,
}  # fmt: skip


def value_of(path: Path, asked: str) -> str:
    """Return the figure that the words of a comment ask for.

    Raises:
        UserError: If a column is unknown, no row agrees, or a value is missing or no number.
    """
    words = dict(word.partition("=")[::2] for word in asked.split())
    column, digits = words.pop("column", ""), words.pop("digits", "2")
    statistic, minus = words.pop("statistic", "mean"), words.pop("minus", "")
    below = float(words.pop("below")) if "below" in words else None
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    named = [column, *words, *([minus] if minus else [])]
    if unknown := [key for key in named if key not in rows[0]]:
        raise UserError(f"value {path.stem}: no column '{unknown[0]}' in {', '.join(rows[0])}")
    if statistic not in STATISTICS:
        raise UserError(f"value {path.stem}: statistic={statistic} is not {', '.join(STATISTICS)}")
    shown = [row for row in rows if all(row[key] == text for key, text in words.items())]
    try:
        every = [float(row[column]) - float(row[minus] if minus else 0) for row in shown]
    except ValueError as error:
        raise UserError(f"value {path.stem}: '{asked}' has values that are no numbers") from error
    values = [value for value in every if below is None or value < below]
    if not every or (statistic != "count" and not values):
        raise UserError(f"value {path.stem}: no row has '{asked}'")
    return f"{STATISTICS[statistic](values):.{digits}f}"


def with_values(text: str, results: Callable[[str], Path]) -> str:
    """Return a text with its figures written anew; ``results`` finds a CSV by name."""
    return VALUE.sub(lambda m: m[1] + value_of(results(m[2]), m[3]) + m[4], text)
