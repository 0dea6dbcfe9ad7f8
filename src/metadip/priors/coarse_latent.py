"""A coarse latent for decoders, which double its size several times."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from metadip.priors.skip_unet import check_choice
from metadip.registry import registered
from metadip.seeding import generator_of
from metadip.types import InverseProblem

Kind = Literal["uniform", "waves"]
FEWEST_CELLS = 2  # from a single cell, upsampling makes a constant image


@registered("coarse_latent")
class CoarseLatent:
    """Make z of random cells, each of which becomes 2^doublings pixels wide.

    Model:
        uniform: z ~ U(0, scale). waves: u ~ U(0, scale) on half of the channels,
        z = [sin(2 pi u); cos(2 pi u)].
    Shape:
        ``of`` -> (1, channels, h, w), h = ceil(H / 2^doublings), at least 2, and w likewise.
    Args:
        channels: of z, at least 1; even for waves.
        doublings: how often the decoder doubles the size, at least 0.
        scale: above 0; 0.1 for uniform cells, 1 for waves in the authors' codes.
        kind: "uniform" or "waves".
        seed: fixes z until it is redrawn.
    Raises:
        ValueError: If a number is out of range or ``kind`` is unknown.
    """

    description: dict[str, Any]

    def __init__(
        self, channels: int, *, doublings: int, scale: float, kind: Kind = "uniform", seed: int = 0
    ) -> None:
        check_choice("kind", kind, get_args(Kind))
        if channels < 1 or doublings < 0 or not scale > 0:
            raise ValueError(
                "need channels >= 1, doublings >= 0 and scale > 0, got "
                f"{channels}, {doublings} and {scale}"
            )
        if kind == "waves" and channels % 2:
            raise ValueError(f"waves need an even number of channels, got {channels}")
        self.channels, self.doublings, self.scale = channels, doublings, scale
        self.kind, self.seed = kind, seed

    def redraw(self, seed: int, size_px: int | None = None) -> None:
        """Set another seed."""
        self.seed = seed

    def of(self, problem: InverseProblem) -> Tensor:
        """See ``NetworkInput.of``."""
        cell_px = 2**self.doublings
        cells = [max(math.ceil(side / cell_px), FEWEST_CELLS) for side in problem.image_shape[1:]]
        drawn = self.channels // 2 if self.kind == "waves" else self.channels
        u = self.scale * torch.rand((1, drawn, *cells), generator=generator_of(self.seed))
        if self.kind == "waves":
            u = torch.cat([(2 * math.pi * u).sin(), (2 * math.pi * u).cos()], dim=1)
        double = problem.y.dtype in (torch.float64, torch.complex128)
        return u.to(problem.y.device, torch.float64 if double else torch.float32)
