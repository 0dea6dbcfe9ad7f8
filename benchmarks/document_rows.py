"""Rows of results in the documents, from a CSV of any columns.

    <!-- rows threads: columns=size_px,threads,wall_ms -->
    <!-- end of rows -->

All columns are shown, or those named, and all rows, or those chosen by words after the columns,
``prior=photo,mixed64``. With ``across=task,images value=psnr_db`` rows that agree in the columns
become one, with a column of values for each task and kind of images.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from metadip.types import UserError

ROWS = re.compile(r"(<!-- rows (\w+): ?(.*?) ?-->\n).*?(<!-- end of rows -->)", re.DOTALL)


def rows_of(path: Path, asked: str) -> str:
    """Return the Markdown of the rows of a CSV, numbers to three digits.

    Raises:
        UserError: If an option or a column is unknown, no row is chosen, or two rows have one place
            of a table spread by ``across=``.
    """
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    options = dict(word.partition("=")[::2] for word in asked.split())
    columns = _names(options.pop("columns", ",".join(rows[0])))
    across, value = _names(options.pop("across", "")), options.pop("value", "")
    if not {*columns, *options, *across, *_names(value)} <= rows[0].keys():
        known = ", ".join(rows[0])
        raise UserError(f"rows {path.stem}: '{asked}' must be columns= and some of {known}")
    rows = [row for row in rows if all(row[k] in v.split(",") for k, v in options.items())]
    if not rows:
        raise UserError(f"rows {path.stem}: no row has '{asked}'")
    if across:
        rows, columns = _spread(path, rows, columns, across, value)
    lines = [[column.replace("_", " ") for column in columns], ["---"] * len(columns)]
    lines += [[_number(row.get(column, "-")) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _names(words: str) -> list[str]:
    return words.split(",") if words else []


def _spread(
    path: Path, rows: list[dict[str, str]], columns: list[str], across: Sequence[str], value: str
) -> tuple[list[dict[str, str]], list[str]]:
    """Return a row for each text of the columns, and the columns with those of the values."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        place = tuple(row[column] for column in columns)
        own = found.setdefault(place, dict(zip(columns, place, strict=True)))
        head = ", ".join(row[name] for name in across)
        if head in own:
            raise UserError(f"rows {path.stem}: two rows on {', '.join([*place, head])}")
        own[head] = row[value]
    heads = dict.fromkeys(", ".join(row[name] for name in across) for row in rows)
    return list(found.values()), [*columns, *heads]


def _number(text: str) -> str:
    """Shorten a number that is not whole."""
    try:
        return text if float(text).is_integer() else f"{float(text):.3g}"
    except ValueError:
        return text


def with_rows(text: str, results: Callable[[str], Path]) -> str:
    """Return a text with its rows written anew; ``results`` finds a CSV by name."""
    return ROWS.sub(lambda m: m[1] + rows_of(results(m[2]), m[3]) + m[4], text)
