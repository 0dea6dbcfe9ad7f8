"""Draw the normalised error of table=net_pgd over the number of measurements per pixel.

    python benchmarks/rate_picture.py benchmarks/results/net_pgd.csv --out net_pgd.png

One panel for compressive sensing and one for phase retrieval of each image set, as in figures 1 and
2 of arXiv:1906.08763; a line for each method that ran on two rates or more, the median over images.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from metadip import config
from metadip.report.figures import STYLE, new_figure, save_figure
from metadip.types import UserError

Lines = dict[str, dict[float, float]]  # a method's label -> rate -> median nMSE
TITLES = {"cs": "compressive sensing", "cpr": "phase retrieval"}


def panels_of(path: Path, *, table: str = "net_pgd") -> dict[tuple[str, str], Lines]:
    """Return the lines of each panel (task, image set) of a CSV with ``nmse``.

    Raises:
        UserError: If no method ran at two rates.
    """
    labels = config.compose("benchmark", [f"table={table}"]).table.methods
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["nmse"]]
    found: dict[tuple[str, str], dict[str, dict[float, list[float]]]] = {}
    for row in rows:
        task, _, tenths = row["task"].partition("_")
        lines = found.setdefault((task, row["set"]), {}).setdefault(row["method"], {})
        lines.setdefault(int(tenths) / 10, []).append(float(row["nmse"]))
    panels = {
        place: {
            labels[method].label: {rate: statistics.median(v) for rate, v in sorted(by.items())}
            for method, by in lines.items()
            if len(by) > 1
        }
        for place, lines in found.items()
    }
    if not any(panels.values()):
        raise UserError(f"{path}: no method ran at two rates")
    return {place: lines for place, lines in panels.items() if lines}


def draw(path: Path, panels: dict[tuple[str, str], Lines]) -> None:
    """Plot the panels side by side, with a logarithmic error."""
    import matplotlib as mpl

    labels = dict.fromkeys(label for lines in panels.values() for label in lines)
    colours = {label: f"C{index}" for index, label in enumerate(labels)}
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(1, len(panels), 3.2, width_inches=3.5 * len(panels), sharey=True)
        for ax, ((task, images), lines) in zip(axes, panels.items(), strict=True):
            for label, by_rate in lines.items():
                rates, errors = zip(*by_rate.items(), strict=True)
                ax.semilogy(rates, errors, "o-", label=label, markersize=4, color=colours[label])
            ax.set_title(f"{TITLES[task]}, {images}")
            ax.set_xlabel("M / N")
        axes[0].set_ylabel("nMSE, median over images")
        told = {str(line.get_label()): line for ax in axes for line in ax.lines}
        figure.legend(list(told.values()), list(told), loc="outside upper center", ncols=3)
        save_figure(path, figure)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw; return 2 after a mistake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("csv", type=Path, help="results with the columns of benchmark.py")
    parser.add_argument("--out", type=Path, required=True, help="a PNG")
    options = parser.parse_args(argv)
    try:
        draw(options.out, panels_of(options.csv))
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
