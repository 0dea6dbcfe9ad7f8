"""The results of a benchmark table: numbers, figures, and a report to browse."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metadip.report.benchmark.claims import judged_claims
from metadip.report.benchmark.page import write_page
from metadip.report.benchmark.score_cells import Cell, Table, judge, read_cells
from metadip.report.benchmark.score_figures import save_nmse_curves, save_pictures
from metadip.report.benchmark.score_tables import write_tables
from metadip.report.benchmark.summary import summarize
from metadip.types import UserError

__all__ = ["Cell", "Table", "judge", "judged_claims", "read_cells", "write_benchmark"]


def write_benchmark(out: Path, table: Table, cells: Sequence[Cell], *, max_images: int = 6) -> None:
    """Write tables, figures and the report of the finished cells.

    ``results.csv`` has a line per cell, ``summary.csv`` and ``table.md`` compare the methods on
    each task and set, ``nmse_curves.png`` and ``pictures_TASK_SET.png`` draw them, and
    ``report.html`` has all of it in one self-contained file.

    Args:
        out: folder of the table, which contains ``cells/``.
        table: what to show, and in which order.
        cells: the results, see ``judge``.
        max_images: images shown in the report per task and set, at least 1.
    Raises:
        ValueError: If ``max_images`` is below 1.
        UserError: If there are no cells, or ``out`` is not writable.
    Cost: in the report, at most 17 kB per picture of 3 x 64 x 64 and 7 kB for its curves.
    """
    if max_images < 1:
        raise ValueError(f"max_images must be at least 1, got {max_images}")
    if not cells:
        raise UserError(
            f"no finished cell of table '{table.name}' in '{out / 'cells'}'; "
            "run the benchmark first"
        )
    rows = summarize(table, cells)
    write_tables(out, table, cells, rows)
    save_nmse_curves(out, table, cells)
    save_pictures(out, table, cells)
    write_page(out, table, cells, rows, max_images=max_images)
