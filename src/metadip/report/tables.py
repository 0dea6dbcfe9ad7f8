"""Tables of results, for people and for programs."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from metadip.files import atomic_path

Row = Mapping[str, Any]


def markdown_table(
    rows: Sequence[Row], columns: Mapping[str, str] | Sequence[str], formats: Mapping[str, str]
) -> str:
    """Return a Markdown table with numbers aligned to the right, in plain text too.

    Args:
        rows: one mapping per line; a missing value, None and NaN are shown as "-".
        columns: keys in order, or key -> title.
        formats: key -> format of its numbers, such as ``".2f"``.
    Raises:
        ValueError: If ``formats`` names a column that is not shown.
    Example:
        >>> print(markdown_table([{"task": "cs", "psnr_db": 31.52}], ["task", "psnr_db"],
        ...                      {"psnr_db": ".1f"}))
        | task | psnr_db |
        |:-----|--------:|
        | cs   |    31.5 |
    """
    titles = columns if isinstance(columns, Mapping) else {key: key for key in columns}
    if unknown := set(formats) - set(titles):
        raise ValueError(f"formats for columns that are not shown: {', '.join(sorted(unknown))}")
    drawn = []
    for key, title in titles.items():
        values = [row.get(key) for row in rows]
        numeric = any(map(_is_number, values)) and not any(isinstance(v, str) for v in values)
        cells = [_cell(title, ""), *(_cell(value, formats.get(key, "")) for value in values)]
        width = max(3, *map(len, cells))
        rule = "-" * (width + 1)
        padded = [cell.rjust(width) if numeric else cell.ljust(width) for cell in cells]
        drawn.append([padded[0], f"{rule}:" if numeric else f":{rule}", *padded[1:]])
    lines = list(zip(*drawn, strict=True))
    text = [f"| {' | '.join(line)} |" for line in lines]
    text[1] = f"|{'|'.join(lines[1])}|"
    return "\n".join(text)


def write_csv(path: str | Path, rows: Sequence[Row], columns: Sequence[str] | None = None) -> None:
    """Write rows as CSV in full precision; None and NaN are left empty.

    Args:
        path: the file.
        rows: one mapping per line.
        columns: keys in order; None takes every key, in order of first appearance.
    Raises:
        UserError: If the file cannot be written.
    """
    keys = list(columns) if columns is not None else list(dict.fromkeys(k for r in rows for k in r))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(keys)
        for row in rows:
            values = (row.get(key) for key in keys)
            writer.writerow("" if _is_missing(value) else value for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _cell(value: Any, spec: str) -> str:
    """Format one value; bars and line breaks are replaced, since they would end the cell."""
    if _is_missing(value):
        return "-"
    text = format(value, spec) if _is_number(value) else str(value)
    return " ".join(text.replace("|", "\\|").split())
