"""A result at a glance, for notebooks."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metadip.report.curve_figures import draw_fit, drawable_axes
from metadip.report.figures import (
    DPI,
    PANEL_INCHES,
    STYLE,
    Panel,
    comparison_panels,
    draw_panels,
)
from metadip.types import FitResult, InverseProblem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVE_INCHES = 1.5  # height of each curve
WIDTH_INCHES = 5.5  # at least, so that curves can be read


def show(
    result: FitResult | Tensor, problem: InverseProblem | None = None, *, title: str = ""
) -> Figure:
    """Draw a result: what was measured, the reconstruction, and how the fit went.

    The figure is the value of a notebook's cell, or goes to a file by ``savefig``. It does not
    belong to ``pyplot``: nothing is left open, and no style changes.

    Shape:
        A tensor: (1, C, H, W) or (C, H, W), an image without curves.
    Args:
        result: of ``metadip.fit`` or ``FitReconstructor.reconstruct``, or an image that a
            reconstructor returned.
        problem: what was solved; adds the measurement and, where it is known, the truth.
        title: above the figure.
    Returns:
        A figure of matplotlib: pictures above, with PSNRs where the truth is known; below loss,
        PSNR and what stopping rules saw, over the steps, with the step at which one stopped.
    Raises:
        ValueError: If there is not exactly one image.
    Example:
        >>> figure = show(torch.rand(1, 3, 16, 16), title="noise")
        >>> len(figure.subfigs[0].axes)
        1
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    x_hat, curves, stop_step = (
        (result.x_hat, result.curves, result.stop_step)
        if isinstance(result, FitResult)
        else (result, {}, None)
    )
    panels = _panels(x_hat, problem)
    n_curves = len(drawable_axes(curves))
    heights = [PANEL_INCHES + 0.3, CURVE_INCHES * n_curves + 0.3][: 2 if n_curves else 1]
    width = max(WIDTH_INCHES if n_curves else 0.0, PANEL_INCHES * len(panels))
    with mpl.rc_context(STYLE):
        size = width, sum(heights) + (0.3 if title else 0.0)
        figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="white")
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        draw_panels(parts[0].subplots(1, len(panels), squeeze=False)[0], panels)
        if n_curves:
            axes = parts[1].subplots(n_curves, 1, sharex=True, squeeze=False)[:, 0]
            draw_fit(list(axes), curves, stop_step=stop_step)
        figure.suptitle(title, fontsize=10, parse_math=False)
    vars(figure)["_repr_png_"] = partial(_png, figure)  # IPython shows it without pyplot
    return figure


def _panels(x_hat: Tensor, problem: InverseProblem | None) -> list[Panel]:
    """Return the pictures that there are, with their titles."""
    if problem is None:
        return [("reconstruction", x_hat)]
    with torch.no_grad():
        batch = x_hat if x_hat.ndim == 4 else x_hat[None]
        return [panel for panel in comparison_panels(problem, batch) if panel[1] is not None]


def _png(figure: Figure) -> bytes:
    """Return the figure as a PNG file."""
    with io.BytesIO() as file:
        figure.savefig(file, format="png")
        return file.getvalue()
