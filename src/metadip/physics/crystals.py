"""Objects for diffraction: the shape of a crystal, and a smooth phase."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

FACES = 7  # of a crystal
NEAREST, FARTHEST = 0.45, 0.75  # of half the smaller side: distances of faces from the middle
SOFT_PX = 0.7  # width of an edge
CELLS = 4  # of the coarse grid from which a phase is interpolated
LARGEST_RAD = {"weak": math.pi / 4, "strong": 2 * math.pi}  # of the phase; a strong one wraps


def crystal(height: int, width: int, *, generator: Generator) -> Tensor:
    """Return the magnitude (1, 1, H, W) of a convex polygon of value 1 with soft edges."""
    half = min(height, width) / 2
    turn = 2 * math.pi * torch.rand((), generator=generator)
    rows = torch.arange(height)[:, None] - (height - 1) / 2
    columns = torch.arange(width) - (width - 1) / 2
    shape = torch.ones(height, width)
    for face in range(FACES):
        jitter = 0.6 * (torch.rand((), generator=generator) - 0.5)
        angle = turn + (face + jitter) * 2 * math.pi / FACES
        share = NEAREST + (FARTHEST - NEAREST) * torch.rand((), generator=generator)
        along = rows * angle.sin() + columns * angle.cos()
        shape = shape * torch.sigmoid((share * half - along) / SOFT_PX)
    return shape[None, None]


def smooth_field(height: int, width: int, *, generator: Generator) -> Tensor:
    """Return a smooth random field (1, 1, H, W) whose largest absolute value is 1."""
    coarse = torch.randn((1, 1, CELLS, CELLS), generator=generator)
    field = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    field = field - field.mean()
    return field / field.abs().max()
