"""Results as files: a CSV, and beside it a record of how it was made; what both must hold.

    python benchmarks/result_records.py                      # check all of benchmarks/results
    python benchmarks/result_records.py results/NAME.csv --command "python benchmarks/..."

``results/NAME.json`` names the command with its settings, the date, the machine and the versions.
The second form writes it for results made just now on this machine; scripts call ``record``.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from metadip.report import git_commit, machine, write_json

RESULTS = Path(__file__).resolve().parent / "results"
# Columns by type. A unit ends the name, PSNR is in dB and times are in seconds where none is named.
KEYS = {  # that tell rows apart
    "method": str, "task": str, "set": str, "image": str, "seed": int, "prior": str, "images": str,
    "problem": str, "photograph": str, "noise_std": float, "rule": str, "size_px": int,
    "threads": int, "neighbours": int, "kernel_px": int, "fit": str, "image_px": int, "name": str,
    "engine": str, "inner_steps": int, "python": str, "step": str, "part": str,
    "noise": str, "level": str, "size": str, "tile_px": int, "weight": float, "lr": float,
}  # fmt: skip
VALUES = {
    "psnr_db": float, "ssim": float, "nmse": float, "seconds": float, "steps": int,
    "best_psnr_db": float, "best_step": int, "last_psnr_db": float, "relative_error": float,
    "phase_psnr_db": float, "blind.kernel_similarity": float, "count": int, "ratio": float,
    "steps_to_reference": str, "made_on": str, "default": str, "command": str, "peak_mib": float,
    "value": float, "mib": float, "seam": float, "predicted": float, "measured": float,
    "best_factor": float, "fits": int,
}  # fmt: skip
BY_ENDING = {"_ms": float, "_s": float, "_db": float, "_mib": float, "_mb": float, "_ratio": float,
             "_step": int}  # fmt: skip
RECORD = {"command": str, "date": str, "machine": str, "versions": dict}
OPTIONAL = {"note": str}
PACKAGES = ("torch", "deepinv")
FOLDER = re.compile(r"^(faces|natural|standard|images|priors|out)=.*")  # of one machine
ROWS_NOTE = "Commits and machines row by row: made_on. Rows may come from several calls."


def record(path: Path, command: str, *, note: str = "") -> None:
    """Write the record of results that this process has just made.

    Args:
        path: their CSV.
        command: what makes them, with its settings; folders of images in capitals.
        note: what else a reader must know, such as what is not comparable.
    """
    facts = machine()
    gpu = "no GPU" if facts["gpu"] is None else facts["gpu"]
    content = {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "machine": f"{facts['cpu']}, {facts['cores']} cores, threads: {facts['threads']}, {gpu}",
        "versions": {
            "metadip": (git_commit() or "none")[:10],
            **{name: version(name) for name in PACKAGES},
        },
    }
    write_json(path.with_suffix(".json"), content | ({"note": note} if note else {}))


def record_run(run: Path, path: Path) -> None:
    """Write the record of results taken from a folder of benchmark.py, as of its last call."""
    facts: dict[str, Any] = {}
    if (run / "environment.json").is_file():
        facts = json.loads((run / "environment.json").read_text("utf-8"))
    words = facts.get("argv") or ["benchmark.py", "out=RUN"]
    settings = [FOLDER.sub(lambda m: f"{m[1]}={m[1].upper()}", word) for word in words[1:]]
    record(path, shlex.join(["python", "benchmark.py", *settings]), note=ROWS_NOTE)


def faults(path: Path) -> list[str]:
    """Return what is wrong with a CSV and its record, one line each."""
    with path.open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))
    if len(table) < 2:
        return [f"{path.name}: no rows"]
    head, rows = table[0], table[1:]
    found = [f"column {name!r} has no type" for name in head if type_of(name) is None]
    if len(set(head)) < len(head):
        found.append("two columns have one name")
    for number, row in enumerate(rows, 2):
        if len(row) != len(head):
            found.append(f"line {number} has {len(row)} values for {len(head)} columns")
            continue
        found += [
            f"line {number}: {name}={text!r} is no {kind.__name__}"
            for name, text in zip(head, row, strict=True)
            if (kind := type_of(name)) is not None and not _is(text, kind)
        ]
    keys = [i for i, name in enumerate(head) if name in KEYS]
    seen = [tuple(row[i] for i in keys) for row in rows if len(row) == len(head)]
    twice = sorted({key for key in seen if seen.count(key) > 1}) if len(rows) > 1 else []
    found += [f"two rows on {', '.join(key) or 'nothing'}" for key in twice]
    return [f"{path.name}: {line}" for line in found + _record_faults(path.with_suffix(".json"))]


def type_of(column: str) -> type | None:
    """Return the type of a column's values, None if its name is not known."""
    known = KEYS.get(column) or VALUES.get(column)
    endings = (kind for ending, kind in BY_ENDING.items() if column.endswith(ending))
    return known or next(endings, None)


def _is(text: str, kind: type) -> bool:
    """Return whether a value can be read; values may be missing, keys of text may not be odd."""
    if text == "" or kind is str:
        return text == text.strip()
    try:
        return math.isfinite(kind(text))
    except ValueError:
        return False


def _record_faults(path: Path) -> list[str]:
    if not path.is_file():
        return [f"there is no {path.name}, which tells how it was made"]
    content: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    found = [f"{path.name} has no {key}" for key in RECORD if not content.get(key)]
    known = RECORD | OPTIONAL
    found += [f"{path.name}: {key!r} is unknown" for key in content if key not in known]
    found += [
        f"{path.name}: {key} must be a {kind.__name__}"
        for key, kind in known.items()
        if key in content and not isinstance(content[key], kind)
    ]
    if not str(content.get("command")).startswith("python "):
        found.append(f"{path.name}: the command does not begin with python")
    try:
        datetime.date.fromisoformat(str(content.get("date")))
    except ValueError:
        found.append(f"{path.name}: date {content.get('date')!r} is none")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Check all results, or write a record; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("csv", type=Path, nargs="?", help="results made just now")
    parser.add_argument("--command", help="what made them")
    parser.add_argument("--note", default="", help="what else a reader must know")
    given = parser.parse_args(arguments)
    if (given.csv is None) != (given.command is None):
        parser.error("a CSV and --command go together")
    if given.csv is not None:
        record(given.csv, given.command, note=given.note)
    paths = [given.csv] if given.csv is not None else sorted(RESULTS.glob("*.csv"))
    found = [line for path in paths for line in faults(path)]
    print("\n".join(found) or f"{len(paths)} files: nothing wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
