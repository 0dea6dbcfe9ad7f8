"""Print after how many seconds each method of a table comes near the best step of one of them.

    python benchmarks/time_to_peak.py RUN                       # RUN: a folder of benchmark.py
    python benchmarks/time_to_peak.py RUN --of dip --within 0.5

For each task, set and image, the goal is the best step of ``--of`` less ``--within`` dB. The time
is that of the first step at the goal: the step's share of all steps, times the seconds of the fit.
A method that does not get there has none. Times are medians over the images that get there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metadip.report.tables import markdown_table

Entry = dict[str, Any]


def seconds_to(entry: Entry, goal_db: float) -> float | None:
    """Return the seconds until the output of a cell is at a goal, None if it never is.

    Example:
        >>> seconds_to({"curves": {"psnr_db": [1, 3, 5]}, "psnr_db": 5, "seconds": 4}, 3)
        2.0
    """
    curve = entry["curves"].get("psnr_db", [])
    for step, value in enumerate(curve):
        if value >= goal_db:
            return float(entry["seconds"] * step / max(len(curve) - 1, 1))
    return entry["seconds"] if entry["psnr_db"] >= goal_db else None


def rows_of(entries: Sequence[Entry], of: str, within_db: float) -> list[dict[str, Any]]:
    """Return a row per task, set and method."""
    goals = {_place(e): e["best_psnr_db"] - within_db for e in entries if e["method"] == of}
    groups: dict[tuple[str, str, str], list[tuple[Entry, float]]] = {}
    for entry in entries:
        if _place(entry) in goals:
            key = (entry["task"], entry["set"], entry["method"])
            groups.setdefault(key, []).append((entry, goals[_place(entry)]))
    rows = []
    for (task, images, method), pairs in sorted(groups.items()):
        times = [seconds_to(entry, goal) for entry, goal in pairs]
        there = [time for time in times if time is not None]
        rows.append(
            {
                "task": task,
                "set": images,
                "method": method,
                "psnr_db": statistics.mean(entry["psnr_db"] for entry, _ in pairs),
                "goal_db": statistics.mean(goal for _, goal in pairs),
                "there": f"{len(there)} of {len(pairs)}",
                "seconds": statistics.median(there) if there else None,
            }
        )
    return rows


def _place(entry: Entry) -> tuple[str, ...]:
    return entry["task"], entry["set"], entry["image"], str(entry["seed"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return 2 after a mistake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a folder of benchmark.py")
    parser.add_argument("--of", default="dip", help="the method whose best step is the goal")
    parser.add_argument("--within", type=float, default=0.5, help="dB below it")
    given = parser.parse_args(arguments)
    files = sorted((given.run / "cells").glob("*.json"))
    entries = [json.loads(file.read_text("utf-8")) for file in files]
    rows = rows_of(entries, given.of, given.within)
    if not rows:
        print(f"error: {given.run} has no finished cell of {given.of}", file=sys.stderr)
        return 2
    formats = {"psnr_db": ".2f", "goal_db": ".2f", "seconds": ".1f"}
    print(markdown_table(rows, list(rows[0]), formats))
    return 0


if __name__ == "__main__":
    sys.exit(main())
