"""Bring results of benchmark.py into the documents: one CSV per table, and what is shown of it.

    python benchmarks/document_tables.py                     # write the tables of all documents
    python benchmarks/document_tables.py --check             # only tell which are out of date
    python benchmarks/document_tables.py --take RUN NAME     # results/NAME.csv from the folder RUN

A document asks for a table by a comment, and all up to the next comment is generated:

    <!-- table photo_inverse: methods=photo_0,photo_20,dip,dip:best -->
    <!-- end of table -->

A row is a task and a column a method, each cell the mean PSNR in dB of each image set; with
``rows=methods`` a row is a method and a column a set, and ``seconds=true`` adds the median time.
``dip:best`` is the best step of a method, which the truth has to choose. ``tasks=`` and ``sets=``
choose and order. The best of a row and set is bold, what only the truth can choose aside. Labels
are those of conf/table.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from metadip import config
from metadip.report.tables import write_csv
from metadip.types import UserError

REPO = Path(__file__).resolve().parents[1]
RESULTS = REPO / "benchmarks" / "results"
DOCUMENTS = ("README.md", "docs/*.md", "src/metadip/released/*.md")
BLOCK = re.compile(r"(<!-- table (\w+): ?(.*?) ?-->\n).*?(<!-- end of table -->)", re.DOTALL)
COLUMNS = ("method", "task", "set", "image", "seed", "psnr_db", "ssim", "seconds", "steps",
           "best_psnr_db", "best_step", "made_on")  # fmt: skip
DIGITS = {"psnr_db": 3, "best_psnr_db": 3, "ssim": 4, "seconds": 3}
BEST = ":best"  # after a method: its best step
OPTIONS = {"methods", "tasks", "sets", "rows", "seconds"}


class Cell(NamedTuple):
    """What one method reached on the images of a set.

    Args:
        psnr_db: mean.
        seconds: median.
        images: number of them.
    """

    psnr_db: float
    seconds: float
    images: int


def take(run: Path, name: str) -> Path:
    """Write the results of a run of benchmark.py as ``results/NAME.csv``; return its path.

    Raises:
        UserError: If the folder has no finished cells.
    """
    entries = [json.loads(path.read_text()) for path in sorted((run / "cells").glob("*.json"))]
    if not entries:
        raise UserError(f"{run} has no finished cells")
    rows = [
        {key: _rounded(key, entry.get(key)) for key in COLUMNS}
        for entry in sorted(entries, key=lambda e: [str(e[key]) for key in COLUMNS[:5]])
    ]
    path = RESULTS / f"{name}.csv"
    write_csv(path, rows, COLUMNS)
    return path


def _rounded(key: str, value: Any) -> Any:
    return round(value, DIGITS[key]) if key in DIGITS and isinstance(value, float) else value


def cells_of(name: str) -> dict[tuple[str, str, str], Cell]:
    """Return what ``results/NAME.csv`` says by method, task and set."""
    path = RESULTS / f"{name}.csv"
    if not path.is_file():
        raise UserError(f"there is no {path.relative_to(REPO)}: see --take")
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            for suffix, column in (("", "psnr_db"), (BEST, "best_psnr_db")):
                if row.get(column):
                    place = (row["method"] + suffix, row["task"], row["set"])
                    found.setdefault(place, []).append((float(row[column]), float(row["seconds"])))
    return {
        place: Cell(
            statistics.mean(psnr for psnr, _ in values),
            statistics.median(seconds for _, seconds in values),
            len(values),
        )
        for place, values in found.items()
    }


def table_of(name: str, asked: str) -> str:
    """Return the Markdown of one table, given the words of its comment.

    Raises:
        UserError: If an option is unknown, or a method, task or set has no results.
    """
    options = dict(word.split("=", 1) for word in asked.split() if "=" in word)
    if unknown := [word for word in asked.split() if word.split("=")[0] not in OPTIONS]:
        raise UserError(f"table {name}: unknown option '{unknown[0]}'")
    cells, table = cells_of(name), config.compose("benchmark", [f"table={name}"]).table
    chosen = {
        "methods": _chosen(options.get("methods"), [*table.methods]),
        "tasks": _chosen(options.get("tasks"), [*table.tasks]),
        "sets": _chosen(options.get("sets"), [*table.sets]),
    }
    for at, kind in enumerate(chosen):
        there = {place[at] for place in cells}
        if missing := [item for item in chosen[kind] if item not in there]:
            raise UserError(f"table {name}: results have nothing on '{missing[0]}'")

    def label(kind: str, key: str) -> str:
        plain = key.removesuffix(BEST)
        return str(table[kind][plain].label) + (", best step" if key != plain else "")

    seconds = options.get("seconds") == "true"
    if options.get("rows") == "methods":
        lines = _by_method(cells, chosen, label, seconds=seconds)
    else:
        lines = _by_task(cells, chosen, label)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _chosen(words: str | None, every: Sequence[str]) -> list[str]:
    return words.split(",") if words else list(every)


Lines = list[list[str]]
Label = Callable[[str, str], str]


def _by_task(
    cells: dict[tuple[str, str, str], Cell], chosen: dict[str, list[str]], label: Label
) -> Lines:
    """Return a row per task and a column per method; each cell has a number per set."""
    methods, sets = chosen["methods"], chosen["sets"]
    names = ", ".join(label("sets", key) for key in sets)
    counts = _counts(cells, chosen)
    head = [f"PSNR in dB: {names}", *(label("methods", m) + counts.get(m, "") for m in methods)]
    lines = [head, ["---"] * len(head)]
    for task in chosen["tasks"]:
        texts = {method: [] for method in methods}  # type: dict[str, list[str]]
        for group in sets:
            found = {m: cells[m, task, group] for m in methods if (m, task, group) in cells}
            for method in methods:
                texts[method].append(_marked(method, found))
        lines.append([label("tasks", task), *(", ".join(texts[method]) for method in methods)])
    return lines


def _by_method(
    cells: dict[tuple[str, str, str], Cell],
    chosen: dict[str, list[str]],
    label: Label,
    *,
    seconds: bool,
) -> Lines:
    """Return a row per method and a column per task and set."""
    places = [(task, group) for task in chosen["tasks"] for group in chosen["sets"]]
    several = len(chosen["tasks"]) > 1
    counts = _counts(cells, chosen)
    head = ["PSNR in dB"]
    for task, group in places:
        head.append((f"{label('tasks', task)}, " if several else "") + label("sets", group))
    lines = [head, ["---"] * len(head)]
    found = {
        place: {m: cells[m, *place] for m in chosen["methods"] if (m, *place) in cells}
        for place in places
    }
    for method in chosen["methods"]:
        texts = []
        for place in places:
            text = _marked(method, found[place])
            if seconds and method in found[place]:
                text += f", {found[place][method].seconds:.2g} s"
            texts.append(text)
        lines.append([label("methods", method) + counts.get(method, ""), *texts])
    return lines


def _marked(method: str, found: dict[str, Cell]) -> str:
    """Return a PSNR, in bold if no other method that needs no truth is above it."""
    if method not in found:
        return "-"
    fair = [f"{cell.psnr_db:.2f}" for m, cell in found.items() if not m.endswith(BEST)]
    text = f"{found[method].psnr_db:.2f}"
    best = not method.endswith(BEST) and text == max(fair, key=float) and len(fair) > 1
    return f"**{text}**" if best else text


def _counts(
    cells: dict[tuple[str, str, str], Cell], chosen: dict[str, list[str]]
) -> dict[str, str]:
    """Return how many images a method saw where it is not as many as the first method saw."""
    first, *others = chosen["methods"]
    told = {}
    for method in others:
        ours = {p[1:]: c.images for p, c in cells.items() if p[0] == method}
        theirs = {p[1:]: c.images for p, c in cells.items() if p[0] == first}
        if fewer := {n for place, n in ours.items() if place in theirs and n != theirs[place]}:
            told[method] = f" ({min(fewer)} images)"
    return told


def renewed(text: str) -> str:
    """Return a document with its tables written anew."""
    return BLOCK.sub(lambda m: m[1] + table_of(m[2], m[3]) + m[4], text)


def documents() -> list[Path]:
    """Return the documents that may ask for tables."""
    return sorted(path for pattern in DOCUMENTS for path in REPO.glob(pattern))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the tables; return 1 if a check fails, 2 after a mistake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--take", nargs=2, metavar=("RUN", "NAME"), help="results of a run")
    given = parser.parse_args(arguments)
    try:
        if given.take:
            print(take(Path(given.take[0]), given.take[1]).relative_to(REPO))
        stale = []
        for path in documents():
            text = path.read_text(encoding="utf-8")
            new = renewed(text)
            if new != text:
                stale.append(path.relative_to(REPO))
                if not given.check:
                    path.write_text(new, encoding="utf-8")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name in stale:
        print(f"{name}: {'out of date' if given.check else 'written'}")
    return 1 if given.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
