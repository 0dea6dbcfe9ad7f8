"""Bring results of benchmark.py into the documents: one CSV per table, and what is shown of it.

    python benchmarks/document_tables.py                     # write the tables of all documents
    python benchmarks/document_tables.py --check             # only tell which are out of date
    python benchmarks/document_tables.py --take RUN NAME     # results/NAME.csv from the folder RUN
    python benchmarks/document_tables.py --add RUN NAME      # the same, other cells of NAME stay

A document asks for a table by a comment, and all up to the next comment is generated:

    <!-- table photo_inverse: methods=photo_0,photo_20,dip,dip:best -->
    <!-- end of table -->

A row is a task and a column a method, each cell the mean PSNR in dB of each image set; with
``rows=methods`` a row is a method and a column a set, and ``seconds=true`` adds the median time.
Only images count that all methods shown have seen; how many stands in brackets. ``dip:best`` is the
best step of a method, which the truth has to choose, ``dip:last`` its last single step, neither
averaged nor chosen, and ``dip:steps`` the median of the steps after which it is as good as the
result of the table's reference, "never" counting as more than any. ``tasks=`` and ``sets=`` choose
and order; by default, all with results. The best of a row and set is bold, what only the truth can
choose aside. Labels are those of conf/table.
``published=true`` puts the number of the paper in brackets after ours, and ``table=`` names the
table of conf/table where the results have another name. Rows of other results, of the scripts in
this folder, are shown by ``document_rows.py``, single figures by ``document_values.py``.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cells_csv import NEVER, write_cells
from document_rows import with_rows
from document_values import with_values
from omegaconf import DictConfig, OmegaConf
from result_records import record_run

from metadip import config
from metadip.types import UserError

REPO = Path(__file__).resolve().parents[1]
RESULTS = REPO / "benchmarks" / "results"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "src/metadip/released/*.md")
BLOCK = re.compile(r"(<!-- table (\w+): ?(.*?) ?-->\n).*?(<!-- end of table -->)", re.DOTALL)
BEST = ":best"  # after a method: its best step
LAST = ":last"  # after a method: its last single step
STEPS = ":steps"  # after a method: its steps until it is as good as the table's reference
ASIDE = {BEST: ", best step", LAST: ", last step", STEPS: ", steps to the same"}
OPTIONS = {"methods", "tasks", "sets", "rows", "seconds", "published", "table"}


Seen = dict[str, tuple[float, float]]  # PSNR in dB and seconds by image
Cells = dict[tuple[str, str, str], Seen]  # by method, task and set
Shown = dict[tuple[str, str], dict[str, Seen]]  # by task and set, then by method
Label = Callable[[str, str], str]  # of a kind and a key


class Chosen(NamedTuple):
    """What a table shows, in order."""

    methods: list[str]
    tasks: list[str]
    sets: list[str]


def take(run: Path, name: str, *, table: str | None = None, keep: bool = False) -> Path:
    """Write ``results/NAME.csv`` from a run of benchmark.py, and its record; return its path.

    With ``keep``, rows of other cells stay, and the record if there is one. ``table`` is that of
    conf/table where the results have another name.

    Raises:
        UserError: If the folder has no finished cells.
    """
    path = RESULTS / f"{name}.csv"
    write_cells(run, path, settings_of(table or name).reference, keep=keep)
    if not keep or not path.with_suffix(".json").is_file():
        record_run(run, path)
    return path


def cells_of(name: str) -> Cells:
    """Return what ``results/NAME.csv`` says."""
    path = _result(name)
    found: Cells = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            columns = (("", "psnr_db"), (BEST, "best_psnr_db"), (LAST, "last_psnr_db"),
                       (STEPS, "steps_to_reference"))  # fmt: skip
            for suffix, column in columns:
                if row.get(column):
                    place = (row["method"] + suffix, row["task"], row["set"])
                    found.setdefault(place, {})[row["image"]] = (
                        math.inf if row[column] == NEVER else float(row[column]),
                        float(row["seconds"]),
                    )
    return found


@cache
def settings_of(table: str) -> config.Config:
    """Return the settings of a table of ``benchmark.py``."""
    chosen: config.Config = config.compose("benchmark", [f"table={table}"]).table
    return chosen


def table_of(name: str, asked: str) -> str:
    """Return the Markdown of one table, given the words of its comment.

    Raises:
        UserError: If an option is unknown, or a method, task or set has no results.
    """
    options = dict(word.split("=", 1) for word in asked.split() if "=" in word)
    if unknown := [word for word in asked.split() if word.split("=")[0] not in OPTIONS]:
        raise UserError(f"table {name}: unknown option '{unknown[0]}'")
    given = options.get("table", name)
    cells, table = cells_of(name), settings_of(given)
    kinds = ("methods", "tasks", "sets")
    there = {kind: {place[at] for place in cells} for at, kind in enumerate(kinds)}
    every = {kind: [key for key in table[kind] if key in there[kind]] for kind in kinds}
    chosen = Chosen(*(_chosen(options.get(kind), every[kind]) for kind in kinds))
    for kind, items in zip(kinds, chosen, strict=True):
        if missing := [item for item in items if item not in there[kind]]:
            raise UserError(f"table {name}: results have nothing on '{missing[0]}'")

    def label(kind: str, key: str) -> str:
        plain, colon, aside = key.partition(":")
        return str(table[kind][plain].label) + (ASIDE[colon + aside] if colon else "")

    shown = {
        (task, group): _shared({m: cells.get((m, task, group), {}) for m in chosen.methods})
        for task in chosen.tasks
        for group in chosen.sets
    }
    texts = {
        (method, *place): _marked(method, found)
        + (_time(found[method]) if options.get("seconds") == "true" else "")
        + (_published(table, method, *place) if options.get("published") == "true" else "")
        for place, found in shown.items()
        for method in chosen.methods
    }
    titles = {group: label("sets", group) + _count(shown, group) for group in chosen.sets}
    lines = _lines(chosen, texts, label, titles, by_method=options.get("rows") == "methods")
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _lines(
    chosen: Chosen,
    texts: dict[tuple[str, str, str], str],
    label: Label,
    titles: dict[str, str],
    *,
    by_method: bool,
) -> list[list[str]]:
    """Return a row per method and a column per task and set, or a row per task."""
    heads = {method: label("methods", method) for method in chosen.methods}
    if not by_method:
        lines = [[f"PSNR in dB: {', '.join(titles.values())}", *heads.values()]]
        for task in chosen.tasks:
            cells = [", ".join(texts[m, task, group] for group in chosen.sets) for m in heads]
            lines.append([label("tasks", task), *cells])
        return lines
    places = [(task, group) for task in chosen.tasks for group in chosen.sets]
    first = {t: f"{label('tasks', t)}, " if len(chosen.tasks) > 1 else "" for t in chosen.tasks}
    lines = [["PSNR in dB", *(first[task] + titles[group] for task, group in places)]]
    return lines + [[head, *(texts[m, t, g] for t, g in places)] for m, head in heads.items()]


def _published(table: DictConfig, method: str, task: str, group: str) -> str:
    """Return what the paper has, in brackets, nothing if it has nothing."""
    number = OmegaConf.select(table, f"published.{method}.{task}.{group}")
    return "" if number is None else f" ({number:g})"


def _chosen(words: str | None, every: Sequence[str]) -> list[str]:
    return words.split(",") if words else list(every)


def _shared(by_method: dict[str, Seen]) -> dict[str, Seen]:
    """Return the results on the images that all methods with results have seen."""
    sets = [set(seen) for seen in by_method.values() if seen]
    images = set.intersection(*sets) if sets else set()
    return {
        method: {image: seen[image] for image in sorted(images & seen.keys())}
        for method, seen in by_method.items()
    }


def _count(shown: Shown, group: str) -> str:
    """Return how many images of a set are shown, in brackets."""
    counts = [
        max(len(seen) for seen in found.values()) for place, found in shown.items()
        if place[1] == group
    ]  # fmt: skip
    least, most = min(counts), max(counts)
    return f" ({least})" if least == most else f" ({least} to {most})"


def _marked(method: str, found: dict[str, Seen]) -> str:
    """Return a mean PSNR, in bold if no other method that needs no truth is above it."""
    if not found[method]:
        return "-"
    if method.endswith(STEPS):
        steps = statistics.median_high(steps for steps, _ in found[method].values())
        return NEVER if steps == math.inf else f"{steps:.0f}"
    texts = {
        m: f"{statistics.mean(psnr for psnr, _ in seen.values()):.2f}"
        for m, seen in found.items()
        if seen
    }
    fair = [float(text) for m, text in texts.items() if not m.endswith(tuple(ASIDE))]
    best = not method.endswith(tuple(ASIDE)) and float(texts[method]) == max(fair) and len(fair) > 1
    return f"**{texts[method]}**" if best else texts[method]


def _time(seen: Seen) -> str:
    """Return the median time."""
    seconds = [seconds for _, seconds in seen.values()]
    if not seconds:
        return ""
    middle = statistics.median(seconds)
    return f", {middle:.0f} s" if middle >= 100 else f", {middle:.2g} s"


def _result(name: str) -> Path:
    path = RESULTS / f"{name}.csv"
    if not path.is_file():
        raise UserError(f"there is no {path.relative_to(REPO)}: see --take")
    return path


def renewed(text: str) -> str:
    """Return a document with its tables and figures written anew."""
    text = BLOCK.sub(lambda m: m[1] + table_of(m[2], m[3]) + m[4], text)
    return with_values(with_rows(text, _result), _result)


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
    parser.add_argument("--add", nargs=2, metavar=("RUN", "NAME"), help="the same, rows stay")
    parser.add_argument("--table", help="that of RUN, where NAME is another")
    given = parser.parse_args(arguments)
    try:
        for words, keep in ((given.take, False), (given.add, True)):
            if words:
                path = take(Path(words[0]), words[1], table=given.table, keep=keep)
                print(path.relative_to(REPO))
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
