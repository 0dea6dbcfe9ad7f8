"""How fits are executed; nothing here changes what is minimised."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from metadip.fitting.backtracking import Backtracking
from metadip.priors.tiling import TILE_PX

PRECISIONS = {"32": None, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Execution:
    """Define how N fits share the device, and what happens to one that diverges.

    Args:
        stacked: fit images of one size together with their weights stacked (fast on a GPU), or one
            after the other (fast on a CPU); None chooses by device.
        precision: "32", or "bf16" for autocast of the network.
        memory_bytes: limit for the images fitted together; more images are fitted in chunks. None
            uses most of the free memory of a CUDA device, and sets no limit on a CPU.
        backtracking: when a diverging image is taken back; None stops it at once.
        tile_px: side of the tiles in which networks that hold for any size make larger images
            where no gradient is needed, see ``metadip.priors.tiling``; 0 for whole images.
    Raises:
        ValueError: If ``precision`` is unknown, ``memory_bytes`` is not finite and above 0, or
            ``tile_px`` is below 0.
    """

    stacked: bool | None = None
    precision: str = "32"
    memory_bytes: float | None = None
    backtracking: Backtracking | None = field(default_factory=Backtracking)
    tile_px: int = TILE_PX

    def __post_init__(self) -> None:
        """Check the settings before anything is computed."""
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise ValueError(f"precision must be one of {known}, got {self.precision!r}")
        if self.memory_bytes is not None and not 0 < self.memory_bytes < math.inf:
            raise ValueError(f"memory_bytes must be above 0 and finite, got {self.memory_bytes}")
        if self.tile_px < 0:
            raise ValueError(f"tile_px must be at least 0, got {self.tile_px}")

    @property
    def autocast(self) -> torch.dtype | None:
        """The dtype of the network's autocast, None without autocast."""
        return PRECISIONS[self.precision]
