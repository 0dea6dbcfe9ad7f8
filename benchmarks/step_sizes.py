"""Run the methods of a table with smaller and larger step sizes too, to choose one for each.

    python benchmarks/step_sizes.py table=overfitting images=VALIDATION count=1 out=DIR
    python benchmarks/step_sizes.py table=overfitting images=VALIDATION out=DIR --factors 0.1 10

The other arguments are those of ``benchmark.py``, and so are the results in DIR and how an
interrupted run goes on. For every method NAME there are rows NAME_lr_x0.3 and so on, in which each
step size of its update rule is multiplied by that factor. ``step_sizes.csv`` in DIR has the factor
with the best mean PSNR for each method, over the tasks and images on which all factors ran.
Choose on images that no table shows.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metadip import command_line, config
from metadip.report import write_csv
from metadip.report.benchmark import read_cells
from metadip.runs import benchmark

FACTORS = (0.3, 3.0)  # beside 1, the method as it is


def scaled(row: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Return a table's method with each of its step sizes multiplied by a factor."""
    rule = config.plain(config.compose("infer", row["settings"]).optimizer)
    rates = {key: value for key, value in config.leaves(rule).items() if key.endswith("lr")}
    changed = [f"optimizer.{key}={value * factor:g}" for key, value in rates.items()]
    label = f"{row['label']}, {factor:g} times the step size"
    return {**row, "label": label, "settings": [*row["settings"], *changed]}


def named(method: str, factor: float) -> str:
    """Return the name of a method with other step sizes."""
    return f"{method}_lr_x{factor:g}"


def with_factors(table: Mapping[str, Any], factors: Sequence[float]) -> dict[str, Any]:
    """Return the methods of a table, each followed by itself with other step sizes."""
    methods = {}
    for name, row in table["methods"].items():
        methods[name] = row
        methods |= {named(name, factor): scaled(row, factor) for factor in factors}
    return methods


def best_of(cells: Sequence[Mapping[str, Any]], factors: Sequence[float]) -> list[dict[str, Any]]:
    """Return the best factor of each method that ran with all of them, with the PSNR of each."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for cell in cells:
        place = cell["task"], cell["set"], cell["image"], str(cell["seed"])
        found.setdefault(cell["method"], {})[place] = cell["psnr_db"]
    rows = []
    for name in found:
        tried = {1.0: found[name]} | {f: found.get(named(name, f), {}) for f in factors}
        if not (shared := set.intersection(*map(set, tried.values()))):
            continue  # itself a row with another step size, or not done yet
        means = {f: statistics.fmean(run[p] for p in shared) for f, run in sorted(tried.items())}
        best = max(means, key=lambda factor: means[factor])
        scores = {f"times_{factor:g}_db": mean for factor, mean in means.items()}
        rows.append({"method": name, "best_factor": best, "fits": len(shared), **scores})
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and print and write the best factors; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--factors", nargs="+", type=float, default=FACTORS, help="beside 1")
    options, settings = parser.parse_known_args(argv)

    def run(cfg: config.Config) -> None:
        if cfg.methods is not None:
            others = [named(name, factor) for name in cfg.methods for factor in options.factors]
            cfg.methods = [*cfg.methods, *others]
        cfg.table.methods = with_factors(config.plain(cfg.table), options.factors)
        benchmark(cfg)
        rows = best_of(read_cells(Path(cfg.out)), options.factors)
        write_csv(Path(cfg.out) / "step_sizes.csv", rows)
        for row in rows:
            print(f"{row['method']}: {row['best_factor']:g} times its step size")

    return command_line.main("benchmark", run, settings)


if __name__ == "__main__":
    sys.exit(main())
