"""Curves of a fit: loss, PSNR, and what a stopping rule saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from metadip.report.figures import COLOURS, GREY, STYLE, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_INSIDE = 2  # entries of a legend that curves leave room for
# (label of the axis, logarithmic, curve -> its legend)
CURVE_AXES: tuple[tuple[str, bool, dict[str, str]], ...] = (
    ("loss", True, {"loss": "loss"}),
    ("PSNR (dB)", False, {"psnr_db": "output", "psnr_raw_db": "single step"}),
    ("variance", True, {"variance": "variance"}),
    ("SV-ES error", True, {"self_validation": "error"}),
    ("residual / noise", False, {"discrepancy": "residual"}),
    ("blur / sharpness", True, {"blur_to_sharpness": "ratio"}),
    (
        "share fitted",
        False,
        {f"band_{i}": f"band {i}" for i in range(1, 6)},  # of spatial frequency, 1 the lowest
    ),
)


def save_curves(
    path: str | Path,
    curves: Mapping[str, Tensor],
    *,
    stop_step: int | None = None,
    chosen_step: int | None = None,
    title: str = "",
) -> None:
    """Save the curves of a fit: loss, PSNR if known, and what a stopping rule saw.

    Shape:
        Each curve (steps + 1,), as in ``FitResult``; lines skip NaN.
    Args:
        path: the file.
        curves: by name; those not in ``CURVE_AXES`` are left out.
        stop_step: where a stopping rule ended the fit.
        chosen_step: the step whose image was returned; None takes the last value of the
            curve ``chosen_step`` if there is one.
        title: above the curves.
    Raises:
        ValueError: If none of the known curves has a value.
        UserError: If the file cannot be written.
    """
    import matplotlib as mpl

    shown = drawable_axes(curves)
    if not shown:
        raise ValueError(f"nothing to draw in the curves ({', '.join(curves) or 'none given'})")
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(len(shown), 1, 1.8, width_inches=5.5, sharex=True)
        draw_fit(axes, curves, stop_step=stop_step, chosen_step=chosen_step)
        figure.suptitle(title, fontsize=10, parse_math=False)
        save_figure(path, figure)


def draw_fit(
    axes: Sequence[Axes],
    curves: Mapping[str, Tensor],
    *,
    stop_step: int | None = None,
    chosen_step: int | None = None,
) -> None:
    """Draw the curves of a fit, one axis each of ``drawable_axes``, and mark where it ended."""
    from matplotlib.ticker import MaxNLocator

    if chosen_step is None:
        chosen_step = chosen_step_of(curves)
    marks = {"stopped": (stop_step, ":"), "chosen": (chosen_step, "--")}
    for ax, (quantity, log, names) in zip(axes, drawable_axes(curves), strict=True):
        _draw_curves(ax, {names[key]: curves[key] for key in names}, log=log)
        ax.set_ylabel(quantity)
        for name, (step, line) in marks.items():
            if step is not None:
                label = f"{name} at {step}" if ax is axes[0] else None  # once
                ax.axvline(step, color=GREY, linestyle=line, label=label)
        if told := ax.get_legend_handles_labels()[1]:
            above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": len(told)}
            ax.legend(**(above if len(told) > MOST_INSIDE else {}))
    axes[-1].set_xlabel("step (weight updates)")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))


def has_curves(curves: Mapping[str, Tensor]) -> bool:
    """Return whether ``save_curves`` has something to draw."""
    return bool(drawable_axes(curves))


def chosen_step_of(curves: Mapping[str, Tensor]) -> int | None:
    """Return the step whose image was returned, the last value of the curve ``chosen_step``."""
    chosen = curves.get("chosen_step", torch.empty(0))
    known = chosen[chosen.isfinite()]
    return int(known[-1]) if len(known) else None


def drawable_axes(curves: Mapping[str, Tensor]) -> list[tuple[str, bool, dict[str, str]]]:
    """Return the axes of ``CURVE_AXES`` with those of their curves that have a value.

    The curve of single steps is left out where the output is no average, so that both are one.
    """
    known = {k: curve for k, curve in curves.items() if _has_values(curve)}
    output, single = known.get("psnr_db"), known.get("psnr_raw_db")
    if output is not None and single is not None and torch.equal(output, single):
        del known["psnr_raw_db"]
    return [
        (label, log, present)
        for label, log, names in CURVE_AXES
        if (present := {k: v for k, v in names.items() if k in known})
    ]


def _has_values(curve: Tensor) -> bool:
    return bool(curve.isfinite().any())


def _draw_curves(ax: Axes, curves: Mapping[str, Tensor], *, log: bool) -> None:
    """Draw curves over their steps; lines skip values that cannot be drawn."""
    for (label, curve), colour in zip(curves.items(), COLOURS, strict=False):
        values = curve.detach().double().cpu().numpy()
        drawable = np.isfinite(values) & ((values > 0) | (not log))
        name = label if len(curves) > 1 else None  # a single one is named by its axis
        steps = np.flatnonzero(drawable)
        ax.plot(steps, values[steps], color=colour, label=name, zorder=3)
        if log and drawable.any():
            ax.set_yscale("log")
