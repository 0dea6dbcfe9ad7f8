"""Tables of a benchmark as CSV and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metadip.files import atomic_path
from metadip.report.benchmark.score_cells import IDENTITY, Cell, Table
from metadip.report.benchmark.summary import Row, best_methods, is_complete
from metadip.report.tables import markdown_table, write_csv

RESULT_COLUMNS = (
    *IDENTITY,
    *("psnr_db", "ssim", "nmse", "lpips", "seconds", "steps", "peak_memory_mb", "stop_step"),
    *("best_psnr_db", "best_step", "steps_to_reference", "seconds_to_reference"),
)
LEGEND = (
    "PSNR: mean ± standard deviation over images, of which each counts once (mean of its seeds).",
    "n: images; where results are missing, how many there are of how many.",
    "vs reference: mean difference ± standard error over the images that both have.",
    "best step: highest PSNR on the way, which only one who knows the truth could choose.",
    "steps to reference: median of the first step as good as the reference's result; never counts "
    "as infinitely many.",
)
CLAIM_COLUMNS = {"where": "where", "published": "paper", "ours": "here", "met": "as good"}
VERDICTS = {True: "met", False: "not met", None: "not judged"}


def write_tables(out: Path, table: Table, cells: Sequence[Cell], rows: Sequence[Row]) -> None:
    """Write ``results.csv``, ``summary.csv`` and ``table.md``.

    Raises:
        UserError: If ``out`` cannot be written.
    """
    write_csv(out / "results.csv", cells, RESULT_COLUMNS)
    write_csv(out / "summary.csv", rows)
    with atomic_path(out / "table.md") as temporary:
        temporary.write_text(markdown(table, rows), encoding="utf-8")


def markdown(table: Table, rows: Sequence[Row]) -> str:
    """Return the whole table as Markdown: overview, claims, details, notes."""
    parts = [f"# {one_line(table.title)}", "## Mean PSNR (dB)", _overview(table, rows)]
    if table.claims:
        parts += ["## Claims", *map(_claim, table.claims)]
    for place in table.places():
        if here := rows_at(rows, place):
            parts += [f"## {place_label(table, place)}", _details(table, here)]
    for title, lines in (("Reading the tables", LEGEND), ("Notes", table.notes)):
        if lines:
            parts += [f"## {title}", "\n".join(f"- {one_line(line)}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def _overview(table: Table, rows: Sequence[Row]) -> str:
    """Return a table of method x (task, set), the best in bold, with the paper's numbers."""
    best = best_methods(rows)
    columns = {"method": "method"}
    lines: dict[str, Row] = {m: {"method": method_label(table, m, rows)} for m in table.methods}
    for row in rows:
        task, images, method = row["task"], row["set"], row["method"]
        if rows_at(rows, (task, images)):
            columns[f"{task} {images}"] = place_label(table, (task, images))
            bold = "**" if (task, images, method) in best else ""
            text = f"{bold}{psnr_text(row)}{bold}"
            if row["published_db"] is not None:
                text += f" (paper {row['published_db']:g})"
            lines[method][f"{task} {images}"] = text
    return markdown_table(list(lines.values()), columns, {})


def _details(table: Table, rows: Sequence[Row]) -> str:
    columns = detail_columns(table)
    return markdown_table([detail(table, row) for row in rows], columns, {})


def _claim(claim: Mapping[str, Any]) -> str:
    """Return a claim as a line with its verdict, and a table of its places."""
    places = markdown_table(claim_rows(claim), CLAIM_COLUMNS, {})
    return f"{one_line(claim['text'])}: **{VERDICTS[claim['met']]}**\n\n{places}"


def claim_rows(claim: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the lines of ``CLAIM_COLUMNS``, one per place."""
    return [
        {key: place[key] or "-" for key in ("where", "published", "ours")}
        | {"met": VERDICTS[place["met"]]}
        for place in claim["places"]
    ]


def detail_columns(table: Table) -> dict[str, str]:
    """Return the columns of the details of a task and set, key -> title."""
    return {
        "method": "method",
        "n": "n",
        "psnr": "PSNR (dB)",
        "published": "paper",
        "ssim": "SSIM",
        "nmse": "NMSE",
        "seconds": "seconds",
        "steps": "steps",
        "difference": f"vs {table.methods[table.reference]} (dB)",
        "best": "best step (dB)",
        "way": f"steps to {table.methods[table.reference]}",
    }


def detail(table: Table, row: Row) -> dict[str, str]:
    """Return one line of the details, with every number as text."""
    best, step = row["best_psnr_db"], row["best_step"]
    return {
        "method": method_label(table, row["method"], [row]),
        "n": count_text(row),
        "psnr": plus_minus(row["psnr_db"], row["psnr_sd_db"], ".2f"),
        "published": number(row["published_db"], "g"),
        "ssim": number(row["ssim"], ".3f"),
        "nmse": number(row["nmse"], ".2e"),
        "seconds": number(row["seconds"], ".3g"),
        "steps": number(row["steps"], ".0f"),
        "difference": _difference_text(table, row),
        "best": "-" if best is None else f"{best:.2f} at {number(step, '.0f')}",
        "way": _way_text(row),
    }


def method_label(table: Table, method: str, rows: Sequence[Row]) -> str:
    """Return the label of a method, and why it was not run if it has no result in ``rows``."""
    label, reason = table.methods[method], table.not_run.get(method)
    if reason is None or any(row["results"] for row in rows if row["method"] == method):
        return label
    return f"{label} (not run: {reason})"


def place_label(table: Table, place: tuple[str, str]) -> str:
    """Return the title of a task and set."""
    return f"{table.tasks[place[0]]}, {table.sets[place[1]]}"


def rows_at(rows: Sequence[Row], place: tuple[str, str]) -> list[Row]:
    """Return the rows of a task and set; none without a result or a published number."""
    here = [row for row in rows if (row["task"], row["set"]) == place]
    known = any(row["results"] or row["published_db"] is not None for row in here)
    return here if known else []


def psnr_text(row: Row) -> str:
    """Return a mean PSNR, with the number of results if some are missing."""
    text = number(row["psnr_db"], ".2f")
    return text if is_complete(row) or not row["results"] else f"{text} (n = {count_text(row)})"


def count_text(row: Row) -> str:
    """Return the number of images, and out of how many if results are missing."""
    if is_complete(row) or not row["results"]:
        return str(row["images"])
    if row["expected_results"] == row["expected_images"] or row["images"] < row["expected_images"]:
        return f"{row['images']} of {row['expected_images']}"
    return f"{row['images']}, {row['results']} of {row['expected_results']} runs"


def number(value: float | None, spec: str) -> str:
    """Return a number as text, "-" for none."""
    return "-" if value is None else format(value, spec)


def plus_minus(value: float | None, spread: float | None, spec: str) -> str:
    """Return a number, with its spread if there is one."""
    return number(value, spec) + ("" if spread is None else f" ± {spread:.2f}")


def _difference_text(table: Table, row: Row) -> str:
    if row["method"] == table.reference:
        return "reference"
    text = plus_minus(row["difference_db"], row["difference_se_db"], "+.2f")
    fewer = 0 < row["difference_images"] < row["expected_images"]
    return f"{text} (n = {row['difference_images']})" if fewer else text


def _way_text(row: Row) -> str:
    if not row["judged"]:
        return "-"
    never = f"{row['never']} of {row['judged']}"
    if row["steps_to_reference"] is None:
        return f"never ({never})"
    return f"{row['steps_to_reference']:g}" + (f" ({never} never)" if row["never"] else "")


def one_line(text: object) -> str:
    """Return text without line breaks."""
    return " ".join(str(text).split())
