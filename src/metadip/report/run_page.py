"""The page of a run of ``infer.py``: its numbers, pictures and curves, to look through."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from metadip.files import atomic_path
from metadip.report.writer import COLUMNS, FORMATS

MOST_IMAGES = 200  # that are shown; the table has all
SMALL_PX = 256  # pictures of less width are enlarged without smoothing


def write_run_page(out: Path, metrics: Mapping[str, Any], *, single: bool) -> None:
    """Write ``report.html``, which shows the pictures that lie beside it.

    Args:
        out: run folder.
        metrics: content of ``metrics.json``.
        single: whether the pictures of its only image lie in ``out`` itself.
    Raises:
        UserError: If ``out`` cannot be written.
    """
    entries = metrics["images"]
    shown = entries[:MOST_IMAGES]
    images = "".join(_image(out, out if single else out / e["name"], e) for e in shown)
    if len(entries) > len(shown):
        images += f"<p>The pictures of {len(entries) - len(shown)} more lie in their folders.</p>"
    page = resources.files(__package__).joinpath("run_page.html").read_text("utf-8")
    facts = {key: metrics[key] for key in ("method", "task", "ckpt", "seed")}
    text = Template(page).substitute(
        title=html.escape(f"{len(entries)} images" if len(entries) > 1 else entries[0]["name"]),
        facts=html.escape(", ".join(f"{k}={v}" for k, v in facts.items() if v is not None)),
        table=_table([*entries, {"name": "mean", **metrics["mean"]}][: None if shown[1:] else 1]),
        settings=html.escape(_settings(out)),
        images=images,
    )
    with atomic_path(out / "report.html") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _settings(out: Path) -> str:
    file = out / "config.yaml"
    return file.read_text("utf-8") if file.is_file() else ""


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a row of numbers per image."""
    head = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in COLUMNS.values())
    lines = []
    for row in rows:
        name, *numbers = (_text(key, row.get(key)) for key in COLUMNS)
        cells = "".join(f"<td>{number}</td>" for number in numbers)
        lines.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _text(key: str, value: Any) -> str:
    shown = "" if value is None else format(value, FORMATS.get(key, ""))
    return html.escape(shown)


def _image(out: Path, folder: Path, entry: Mapping[str, Any]) -> str:
    """Return the section of an image: how its fit ended, its pictures and curves."""
    name = html.escape(entry["name"])
    lines = [f'<section><h2 id="{name}">{name}</h2>']
    if entry.get("stop_reason"):
        lines.append(f"<p>step {entry['stop_step']}: {html.escape(entry['stop_reason'])}</p>")
    doubt = (entry.get("trust") or {}).get("doubt")
    if doubt:
        lines.append(f'<p class="doubt">{html.escape(doubt)}</p>')
    lines.append(_slider(out, folder, name))
    lines.append(_picture(out, folder / "comparison.png", f"truth and results of {name}"))
    if (folder / "curves.png").is_file():
        curves = _picture(out, folder / "curves.png", f"curves of the fit of {name}")
        lines.append(f"<details open><summary>curves</summary>{curves}</details>")
    return "".join([*lines, "</section>\n"])


def _slider(out: Path, folder: Path, name: str) -> str:
    """Return the measurement over the reconstruction, with a line that wipes both; "" without."""
    measured, restored = folder / "measured.png", folder / "reconstruction.png"
    if not measured.is_file():
        return ""
    small = " small" if _width_px(restored) < SMALL_PX else ""
    wipe = "this.parentNode.style.setProperty('--wipe', this.value + '%')"
    return (
        f'<div class="stack{small}">'
        f"{_picture(out, restored, f'reconstruction of {name}')}"
        f"{_picture(out, measured, f'what was measured of {name}')}"
        f'<span class="tag">measured</span><span class="tag other">reconstruction</span>'
        f'<input type="range" min="0" max="100" value="50" step="any" oninput="{wipe}" '
        f'aria-label="{name}: how much of the measurement is shown, percent"></div>'
    )


def _width_px(picture: Path) -> int:
    """Return the width of a PNG file, 0 if it cannot be read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(picture) as opened:
            return opened.width
    except (OSError, UnidentifiedImageError):
        return 0


def _picture(out: Path, file: Path, text: str) -> str:
    """Return a picture, loaded from beside the page when it is scrolled to."""
    return f'<img src="{quote(str(file.relative_to(out)))}" alt="{text}" loading="lazy">'
