"""The report of a benchmark: one HTML file that holds its pictures, style and script."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from metadip.files import atomic_path
from metadip.report.benchmark.score_cells import (
    Cell,
    Curve,
    Table,
    at_place,
    curves_of,
    measured_of,
    picture_of,
    truth_of,
)
from metadip.report.benchmark.score_figures import chosen_images, colours, truth_energy
from metadip.report.benchmark.score_tables import (
    CLAIM_COLUMNS,
    LEGEND,
    VERDICTS,
    claim_rows,
    detail,
    detail_columns,
    method_label,
    place_label,
    psnr_text,
    rows_at,
)
from metadip.report.benchmark.summary import Row, best_methods

CURVE_POINTS = 200
LOSSLESS_PX = 256  # larger pictures are embedded as WebP of quality 90


def write_page(
    out: Path, table: Table, cells: Sequence[Cell], rows: Sequence[Row], *, max_images: int
) -> None:
    """Write ``report.html``, which loads no other files.

    Raises:
        UserError: If ``out`` cannot be written.
    """
    data = json.dumps(_data(out, table, cells, max_images), ensure_ascii=False, allow_nan=False)
    text = Template(_asset("page.html")).substitute(
        title=html.escape(table.title),
        style=_asset("report.css"),
        script=_asset("report.js"),
        data=data.replace("<", "\\u003c"),  # so that no text ends the script element
        overview=_overview(table, rows),
        claims=_claims(table),
        details=_details(table, rows),
        legend=_list(LEGEND),
        notes=_section("notes", "Notes", _list(table.notes)) if table.notes else "",
    )
    with atomic_path(out / "report.html") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _overview(table: Table, rows: Sequence[Row]) -> str:
    """Return a table of method x (task, set): the mean PSNR, with the paper's number below."""
    best = best_methods(rows)
    places = [place for place in table.places() if rows_at(rows, place)]
    head = "".join(f'<th scope="col">{html.escape(place_label(table, p))}</th>' for p in places)
    lines = []
    for method in table.methods:
        label = html.escape(method_label(table, method, rows))
        numbers = {(r["task"], r["set"]): r for r in rows if r["method"] == method}
        texts = "".join(_overview_cell(numbers[p], (*p, method) in best) for p in places)
        lines.append(f'<tr><th scope="row">{label}</th>{texts}</tr>')
    return _scrolling(
        f"<table><caption>Mean PSNR (dB); the paper's below</caption><thead><tr>"
        f'<th scope="col">method</th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>',
        "Mean PSNR of each method",
    )


def _overview_cell(row: Row, best: bool) -> str:
    text = html.escape(psnr_text(row))
    marked = f'<strong title="best">{text}</strong>' if best else text
    paper = row["published_db"]
    below = "" if paper is None else f"<small>paper {paper:g}</small>"
    return f"<td>{marked}{below}</td>"


def _details(table: Table, rows: Sequence[Row]) -> str:
    """Return a collapsed table for each task and set."""
    columns = list(detail_columns(table).values())
    return "".join(
        _folded(place_label(table, place), columns, [detail(table, row) for row in here])
        for place in table.places()
        if (here := rows_at(rows, place))
    )


def _folded(label: str, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """Return a table collapsed behind its label."""
    head = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in columns)
    lines = "".join(map(_detail_line, rows))
    content = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    return f"<details><summary>{html.escape(label)}</summary>{_scrolling(content, label)}</details>"


def _detail_line(texts: Mapping[str, str]) -> str:
    first, *others = (html.escape(text) for text in texts.values())
    cells = "".join(f"<td>{text}</td>" for text in others)
    return f'<tr><th scope="row">{first}</th>{cells}</tr>'


def _claims(table: Table) -> str:
    if not table.claims:
        return ""
    items = []
    for claim in table.claims:
        verdict = VERDICTS[claim["met"]]
        places = _folded(claim["text"], list(CLAIM_COLUMNS.values()), claim_rows(claim))
        items.append(
            f'<li><span class="verdict {verdict.replace(" ", "-")}">{verdict}</span>{places}</li>'
        )
    return _section("claims", "What the paper claims", f"<ul>{''.join(items)}</ul>")


def _section(name: str, title: str, content: str) -> str:
    return f'<section id="{name}"><h2>{title}</h2>{content}</section>'


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(str(line))}</li>' for line in lines)}</ul>"


def _scrolling(content: str, label: str) -> str:
    """Wrap content in a box that scrolls sideways, also by keyboard."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(label)}">'
        f"{content}</div>"
    )


def _data(out: Path, table: Table, cells: Sequence[Cell], max_images: int) -> dict[str, Any]:
    """Return what the script reads: labels, and pictures and curves of some images."""
    truths: dict[str, Any] = {}
    places: list[dict[str, Any]] = []
    for task, images in table.places():
        chosen = chosen_images(at_place(cells, task, images), max_images)
        if not chosen:
            continue
        shown = {}
        for image, by_method in chosen.items():
            first = next(iter(by_method.values()))
            truth = truths.setdefault(images, {})
            if image not in truth:
                picture = _picture_uri(truth_of(out, first))
                truth[image] = {"picture": picture, "energy": truth_energy(out, first)}
            shown[image] = {
                "measured": _picture_uri(measured_of(out, first)),
                "results": {m: _result(out, by_method[m]) for m in table.methods if m in by_method},
            }
        places.append({"task": task, "set": images, "images": shown})
    return {
        "methods": dict(table.methods),
        "tasks": dict(table.tasks),
        "sets": dict(table.sets),
        "reference": table.reference,
        "colours": colours(table),
        "truths": truths,
        "places": places,
    }


def _result(out: Path, cell: Cell) -> dict[str, Any]:
    """Return one reconstruction with its numbers."""
    numbers = {key: cell.get(key) for key in ("psnr_db", "ssim", "seconds", "steps")}
    curves = {name: _thinned(curve) for name, curve in curves_of(cell).items()}
    return {"picture": _picture_uri(picture_of(out, cell)), **numbers, "curves": curves}


def _thinned(curve: Curve) -> list[tuple[int, float]]:
    """Return at most ``CURVE_POINTS`` (step, PSNR), half even in steps, half in their logarithm."""
    last, half = len(curve) - 1, CURVE_POINTS // 2
    even = np.linspace(0, last, half).round()
    logs = (np.geomspace(1, last + 1, half) - 1).round()
    steps = range(len(curve)) if len(curve) <= CURVE_POINTS else np.union1d(even, logs).astype(int)
    return [(int(s), round(v, 3)) for s in steps if (v := curve[int(s)]) is not None]


def _picture_uri(file: Path) -> str | None:
    """Return a picture as a data URI, None if there is no such file."""
    from PIL import Image

    if not file.is_file():
        return None
    content, kind = file.read_bytes(), "png"
    with Image.open(io.BytesIO(content)) as picture:
        if max(picture.size) > LOSSLESS_PX:
            buffer, kind = io.BytesIO(), "webp"
            picture.convert("RGB").save(buffer, format="WEBP", quality=90)
            content = buffer.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
