"""What a scanner adds to an MR image: smooth phase, coil sensitivities, columns left out."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

COIL_WIDTH = 0.7  # standard deviation of a coil's sensitivity, in sides of the field of view
COIL_DISTANCE = 0.75  # of a coil from the centre, in sides of the field of view
MAX_PHASE = math.pi / 2  # of the object
FREQUENCIES = 2  # of the object's phase, periods across the field of view
CENTRE = (
    0.32  # times 1 / acceleration is the share of columns around the centre: 8 % at 4, 4 % at 8
)


def column_mask(height: int, width: int, *, acceleration: float, generator: Generator) -> Tensor:
    """Return which columns of the k-space are sampled, (height, width) of zeros and ones.

    Model:
        The central round(0.32 width / acceleration) columns, at least one, and each other one with
        the probability that makes width / acceleration of them on average.
    References:
        Zbontar et al. (2018), fastMRI, arXiv:1811.08839, section 4.9 (its random masks).
    """
    low = max(1, round(CENTRE * width / acceleration))
    share = max(0.0, (width / acceleration - low) / max(width - low, 1))
    columns = torch.rand(width, generator=generator) < share
    first = (width - low + 1) // 2
    columns[first : first + low] = True
    return columns.float().expand(height, width).contiguous()


def smooth_phase(height: int, width: int, *, generator: Generator) -> Tensor:
    """Return a phase (height, width) of a few low frequencies, within +- pi / 2."""
    y, x = _field(height, width)
    phase = torch.zeros(height, width, dtype=torch.float64)
    for row in range(FREQUENCIES):
        for column in range(FREQUENCIES):
            size, shift = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
            phase += (2 * size - 1) * torch.cos(math.pi * (row * y + column * x + 2 * shift))
    return MAX_PHASE * phase / phase.abs().max().clamp(min=1)


def coil_maps(n_coils: int, height: int, width: int) -> Tensor:
    """Return smooth complex sensitivities (n_coils, height, width) with sum |s|^2 = 1 everywhere.

    Model:
        Coils sit evenly on a circle around the field of view; each sees a Gaussian of the distance
        with a phase that turns with the direction. deepinv's own need the package sigpy.
    """
    y, x = _field(height, width)
    angles = 2 * math.pi * torch.arange(n_coils, dtype=torch.float64) / n_coils
    dy = y - COIL_DISTANCE * angles.sin()[:, None, None]
    dx = x - COIL_DISTANCE * angles.cos()[:, None, None]
    size = torch.exp(-(dx.square() + dy.square()) / (2 * COIL_WIDTH**2))
    maps = torch.polar(size, torch.atan2(dy, dx) - angles[:, None, None])
    return maps / maps.abs().square().sum(0).sqrt()


def _field(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return coordinates of pixels from -1/2 to 1/2, (height, 1) and (1, width)."""
    rows, columns = (
        (torch.arange(side, dtype=torch.float64) + 0.5) / side - 0.5 for side in (height, width)
    )
    return rows[:, None], columns[None]
