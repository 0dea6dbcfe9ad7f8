"""Maps of numbers beside a picture, such as the uncertainty of each pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from metadip.files import atomic_path
from metadip.report.figures import new_figure, save_figure


def save_map(path: str | Path, values: Tensor) -> None:
    """Save the root mean square over channels of a map as a picture with a scale beside it.

    Shape:
        (1, C, H, W) or (C, H, W), not negative.
    Raises:
        UserError: If the file cannot be written.
    """
    x = values.reshape(-1, *values.shape[-2:]).square().mean(dim=0).sqrt()
    figure, (ax,) = new_figure(1, 1, 3.0, width_inches=3.8)
    shown = ax.imshow(x.cpu().numpy(), cmap="magma", vmin=0, interpolation="nearest")
    ax.set_axis_off()
    figure.colorbar(shown, ax=ax, shrink=0.9)
    save_figure(path, figure)


def save_array(path: str | Path, values: Tensor) -> None:
    """Save a tensor as a NumPy file.

    Raises:
        UserError: If the file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, values.cpu().numpy())


def map_facts(values: Tensor) -> dict[str, float]:
    """Return the mean and the largest value of a map."""
    return {"mean": values.mean().item(), "max": values.max().item()}
