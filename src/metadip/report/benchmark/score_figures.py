"""Figures of a benchmark: NMSE over steps, and images side by side."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from metadip.report.benchmark.score_cells import (
    Cell,
    Table,
    at_place,
    curves_of,
    measured_of,
    picture_of,
    truth_of,
)
from metadip.report.benchmark.score_tables import place_label
from metadip.report.figures import GREY, STYLE, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Distinguishable on white and on black, also for colour-blind readers (after Okabe and Ito).
COLOURS = (
    *("#0f7fc4", "#d1662c", "#12936b", "#b8578f", "#b08900", "#5b6bc8"),
    *("#3aa6b9", "#a34a3a", "#7c8a2e", "#8a7f78", "#d94f70", "#2f9e44"),
    *("#9c6ade", "#c48a5a", "#5f8f9b", "#e07b00"),
)
PICTURE_INCHES = 1.25
PICTURE_ROWS = 4
TITLE_WIDTH = 18  # characters per line above a picture


def colours(table: Table) -> dict[str, str]:
    """Return the colour of each method."""
    return {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(table.methods)}


def save_nmse_curves(out: Path, table: Table, cells: Sequence[Cell]) -> None:
    """Save the NMSE over the steps as ``nmse_curves.png``, with a panel for each task and set.

    Model:
        NMSE = 10^(-PSNR/10) / mean(x^2). The line is the geometric mean over images, which matches
        the mean PSNR; the band is one standard deviation of the logarithm. A fit that has stopped
        keeps its last value. A method without curves is a dashed line.

    Nothing is saved if no cell has a curve.
    """
    import matplotlib as mpl

    with_curves = [p for p in table.places() if any(map(curves_of, at_place(cells, *p)))]
    if not with_curves:
        return
    n_columns = math.ceil(math.sqrt(len(with_curves)))
    n_rows = -(-len(with_curves) // n_columns)
    with mpl.rc_context(STYLE):
        width = max(6.0, 0.4 + 3.2 * n_columns)
        figure, axes = new_figure(n_rows, n_columns, 2.6, width_inches=width, sharey=True)
        for ax in axes[len(with_curves) :]:
            ax.set_axis_off()
        lines: dict[str, Line2D] = {}
        for ax, place in zip(axes, with_curves, strict=False):
            lines |= _draw_nmse(ax, out, table, at_place(cells, *place))
            title = f"{table.tasks[place[0]]}\n{table.sets[place[1]]}"
            ax.set_title(title, fontsize=9, parse_math=False)
            ax.set_xlabel("step (weight updates)")
        for ax in axes[::n_columns]:
            ax.set_ylabel("NMSE")
        shown = {table.methods[key]: lines[key] for key in table.methods if key in lines}
        figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=2)
        save_figure(out / "nmse_curves.png", figure)


def _draw_nmse(ax: Axes, out: Path, table: Table, cells: Sequence[Cell]) -> dict[str, Line2D]:
    """Draw the methods of one task and set; return their lines."""
    lines: dict[str, Line2D] = {}
    ax.set_xscale("function", functions=(np.log1p, np.expm1))  # leaves room for step 0
    ax.set_xticks([0, 1, 10, 100, 1000, 10_000])
    ax.set_yscale("log")
    last = max(len(curve) for cell in cells for curve in curves_of(cell).values()) - 1
    ax.set_xlim(-0.05, 1.05 * last + 0.05)
    for method, colour in colours(table).items():
        own = [cell for cell in cells if cell["method"] == method]
        logs = [log for cell in own if (log := _log_nmse(out, cell)) is not None]
        final = [np.log10(cell["nmse"]) for cell in own if cell.get("nmse")]
        if logs:
            length = max(map(len, logs))
            stacked = np.stack([np.pad(log, (0, length - len(log)), mode="edge") for log in logs])
            mean, spread = stacked.mean(axis=0), stacked.std(axis=0)
            (lines[method],) = ax.plot(10**mean, color=colour, zorder=3)
            low, high = 10 ** (mean - spread), 10 ** (mean + spread)
            ax.fill_between(np.arange(length), low, high, color=colour, alpha=0.15, linewidth=0)
        elif final:
            level = float(10 ** np.mean(final))
            lines[method] = ax.axhline(level, color=colour, linestyle="--", linewidth=1)
    return lines


def _log_nmse(out: Path, cell: Cell) -> Floats | None:
    """Return log10 of the NMSE of the output at each step, None without a curve or a truth."""
    energy = truth_energy(out, cell)
    if not (curves := curves_of(cell)) or not energy:
        return None
    values = np.array(next(iter(curves.values())), dtype=np.float64)  # None becomes NaN
    known = np.flatnonzero(np.isfinite(values))
    filled = np.interp(np.arange(len(values)), known, values[known])
    log: Floats = -filled / 10 - np.log10(energy)
    return log


def truth_energy(out: Path, cell: Cell) -> float | None:
    """Return mean(x^2) of the picture of the truth, None if there is none."""
    pixels = _pixels(truth_of(out, cell))
    return None if pixels is None else float(np.square(pixels / 255.0).mean())


def save_pictures(out: Path, table: Table, cells: Sequence[Cell]) -> None:
    """Save ``pictures_TASK_SET.png``: truth, measurement and every method for some images."""
    for task, images in table.places():
        if here := at_place(cells, task, images):
            title = place_label(table, (task, images))
            _save_sheet(out / f"pictures_{task}_{images}.png", out, table, here, title)


def _save_sheet(path: Path, out: Path, table: Table, cells: list[Cell], title: str) -> None:
    methods = [m for m in table.methods if any(cell["method"] == m for cell in cells)]
    shown = chosen_images(cells, PICTURE_ROWS)
    n_columns = len(methods) + 2
    width = PICTURE_INCHES * n_columns
    figure, axes = new_figure(len(shown), n_columns, PICTURE_INCHES + 0.4, width_inches=width)
    names = ["truth", "measured", *(table.methods[method] for method in methods)]
    for ax, name in zip(axes, names, strict=False):
        ax.set_title(textwrap.fill(name, TITLE_WIDTH), fontsize=7, parse_math=False)
    for row, some in enumerate(shown.values()):
        left, middle, *others = axes[row * n_columns : (row + 1) * n_columns]
        first = next(iter(some.values()))
        _draw_picture(left, truth_of(out, first), first["image"])
        _draw_picture(middle, measured_of(out, first), "")
        for ax, method in zip(others, methods, strict=True):
            cell = some.get(method)
            psnr = None if cell is None else cell.get("psnr_db")
            text = "-" if psnr is None else f"{psnr:.2f} dB"
            _draw_picture(ax, None if cell is None else picture_of(out, cell), text)
    figure.suptitle(title, fontsize=10, parse_math=False)
    save_figure(path, figure)


def chosen_images(cells: Sequence[Cell], count: int) -> dict[str, dict[str, Cell]]:
    """Return the images that most methods have, by name: image -> method -> cell of first seed."""
    images: dict[str, dict[str, Cell]] = {}
    seeds = {cell["image"]: cell["seed"] for cell in sorted(cells, key=lambda c: -c["seed"])}
    for cell in cells:
        if cell["seed"] == seeds[cell["image"]]:
            images.setdefault(cell["image"], {})[cell["method"]] = cell
    order = sorted(images, key=lambda image: (-len(images[image]), image))
    return {image: images[image] for image in sorted(order[:count])}


def _draw_picture(ax: Axes, file: Path | None, text: str) -> None:
    """Draw a picture without interpolation, with a line of text below."""
    ax.set(xticks=[], yticks=[])
    ax.set_xlabel(text, fontsize=8, parse_math=False)
    ax.spines[:].set_color(GREY)
    ax.spines[:].set_linewidth(0.4)
    if file is not None and (pixels := _pixels(file)) is not None:
        ax.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _pixels(file: Path) -> NDArray[np.uint8] | None:
    """Return (H, W) or (H, W, 3) bytes, None if there is no such file."""
    from PIL import Image

    if not file.is_file():
        return None
    with Image.open(file) as picture:
        return np.asarray(picture.convert("L" if picture.mode in ("L", "1", "I;16") else "RGB"))
