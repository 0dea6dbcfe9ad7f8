"""Pictures: images, comparisons, curves, contact sheets. All are PNG files, written whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from metadip.files import atomic_path
from metadip.metrics import psnr_db
from metadip.types import InverseProblem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

DPI = 150
PANEL_INCHES = 2.4
BLUE, ORANGE, GREY = "#1f5fa8", "#d1662c", "#7a7a7a"
COLOURS = (BLUE, ORANGE, "#2a8a4a", "#8b3fa8", "#b8252f")  # of curves that share an axis
STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
}
Panel = tuple[str, Tensor | None]


def save_image(path: str | Path, x: Tensor) -> None:
    """Save an image as an 8-bit PNG, clipped to [0, 1].

    Shape:
        (C, H, W) or (1, C, H, W). One channel is grey, three are RGB; any other number is averaged.
    Raises:
        ValueError: If ``x`` is not one image.
        UserError: If the file cannot be written.
    """
    from PIL import Image

    picture = Image.fromarray(to_pixels(x))
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG")


def measurement_picture(problem: InverseProblem) -> Panel:
    """Return a title and an image (C, H, W) that show what was measured.

    An image is shown as it is, or stretched to [0, 1] if it does not hold intensities. Other
    measurements are shown through the adjoint if that gives an image, also stretched, else as
    magnitudes arranged in a square, with the largest in white.
    """
    y = problem.y.detach()
    if y.ndim == 4 and y.shape[1] in (1, 3) and not y.is_complex():
        like_an_image = y.shape[1:] == problem.image_shape or bool(y.abs().max() <= 2)
        return "measured", y[0] if like_an_image else _stretch(y[0])
    count = f"{y[0].numel()} measurements"
    adjoint = _adjoint_image(problem, y)
    if adjoint is not None:
        return f"{count} (adjoint)", _stretch(adjoint)
    values = y.abs().flatten().float()
    side = math.ceil(math.sqrt(len(values)))
    padded = values.new_zeros(side * side)
    padded[: len(values)] = values / values.max().clamp(min=1e-12)
    return f"{count} (magnitudes)", padded.reshape(1, side, side)


def _adjoint_image(problem: InverseProblem, y: Tensor) -> Tensor | None:
    """Return A^T y, read, as (C, H, W); None if the operator gives no real one of 1 to 4 channels.

    Errors of a user's operator are caught: a finished fit must not be lost for a picture.
    """
    try:
        with torch.no_grad():
            x = problem.physics.A_adjoint(y)
            x = x if problem.reading is None else problem.read(x)
    except Exception:
        return None
    if not isinstance(x, Tensor) or x.is_complex() or x.ndim != 4 or not x.numel():
        return None
    return x[0] if len(x) == 1 and x.shape[1] <= 4 else None


def comparison_panels(problem: InverseProblem, x_hat: Tensor) -> list[Panel]:
    """Return the truth, the measurement and the reading of ``x_hat``, with PSNRs in the titles.

    Shape:
        ``x_hat``: (1, C, H, W), an estimate of the unknown.
    """
    title, picture = measurement_picture(problem)
    shown = problem.read(x_hat)
    if problem.x is None:
        return [("no ground truth", None), (title, picture), ("reconstruction", shown)]
    if problem.y.shape == problem.x.shape:
        title += f", {psnr_db(problem.y, problem.x).item():.2f} dB"
    restored = f"reconstruction, {psnr_db(shown, problem.x).item():.2f} dB"
    return [("truth", problem.x), (title, picture), (restored, shown)]


def save_comparison(path: str | Path, panels: Sequence[Panel], *, title: str = "") -> None:
    """Save titled images side by side; None leaves a panel empty.

    Shape:
        Images (C, H, W) or (1, C, H, W), each of its own size.
    Raises:
        ValueError: If there are no panels, or one is not an image.
        UserError: If the file cannot be written.
    """
    if not panels:
        raise ValueError("no panels to compare")
    figure, axes = new_figure(1, len(panels), PANEL_INCHES + (0.55 if title else 0.35))
    draw_panels(axes, panels)
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    save_figure(path, figure)


def draw_panels(axes: Sequence[Axes], panels: Sequence[Panel]) -> None:
    """Draw titled images, one on each axis; None leaves it empty."""
    for ax, (name, image) in zip(axes, panels, strict=True):
        ax.set_title(name, fontsize=9, parse_math=False)
        ax.set_axis_off()
        if image is not None:
            pixels = to_pixels(image)
            ax.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def contact_sheet(
    path: str | Path, images: Sequence[Tensor], names: Sequence[str], *, tile_px: int = 128
) -> None:
    """Save many images as one sheet with their names below, each fitted into a square tile.

    Raises:
        ValueError: If there are no images, names are too few or many, or a tensor is not one image.
        UserError: If the file cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not images or len(images) != len(names):
        raise ValueError(f"need images and as many names, got {len(images)} and {len(names)}")
    gap, text_px = 8, 16
    n_columns = math.ceil(math.sqrt(len(images)))
    n_rows = math.ceil(len(images) / n_columns)
    step_x, step_y = tile_px + gap, tile_px + text_px + gap
    sheet = Image.new("RGB", (n_columns * step_x + gap, n_rows * step_y + gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        x, y = gap + i % n_columns * step_x, gap + i // n_columns * step_y
        picture = Image.fromarray(to_pixels(image)).convert("RGB")
        scale = tile_px / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
        sheet.paste(picture.resize(size, way), (x, y))
        while draw.textlength(name, font) > tile_px and len(name) > 4:
            name = f"{name.removesuffix('...')[:-1]}..."
        draw.text((x, y + tile_px + 2), name, fill="black", font=font)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def to_pixels(image: Tensor) -> NDArray[np.uint8]:
    """Return (H, W) or (H, W, 3) bytes, clipped; NaN is black."""
    x = image[0] if image.ndim == 4 and len(image) == 1 else image
    if x.ndim != 3:
        raise ValueError(f"expected one image (C, H, W) or (1, C, H, W), got {tuple(image.shape)}")
    x = x.detach().float().cpu()
    if len(x) not in (1, 3):
        x = x.mean(dim=0, keepdim=True)
    pixels = x.nan_to_num(0.0).clamp(0, 1).mul(255).round().byte()
    return (pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)).contiguous().numpy()


def _stretch(x: Tensor) -> Tensor:
    """Map the middle 98 percent of the values to [0, 1]."""
    values = x.float().flatten().sort().values
    low, high = values[round(0.01 * (len(values) - 1))], values[round(0.99 * (len(values) - 1))]
    return ((x - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)


def new_figure(
    rows: int, columns: int, height: float, *, width_inches: float | None = None, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure without pyplot, which would keep it and look for a display."""
    from matplotlib.figure import Figure

    size = (width_inches or PANEL_INCHES * columns, height * rows)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="white")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


def save_figure(path: str | Path, figure: Figure) -> None:
    """Save a figure as PNG, whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
