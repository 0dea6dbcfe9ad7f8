"""The sum of absolute weights as a term of the objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metadip.registry import registered
from metadip.types import Look


@registered("weight_sum")
@dataclass(frozen=True)
class WeightSum:
    """The sum of the absolute values of all weights, times a weight.

    Model:
        weight ||theta||_1.
    Args:
        weight: at least 0.
    Raises:
        ValueError: If ``weight`` is negative.
    """

    weight: float

    def __post_init__(self) -> None:
        """Check the range."""
        if not self.weight >= 0:
            raise ValueError(f"weight must be at least 0, got {self.weight}")

    def __call__(self, look: Look) -> Tensor:
        """Return the term of each image."""
        sums = [w.reshape(len(w), -1).abs().sum(dim=1) for w in look.weights.values()]
        return self.weight * torch.stack(sums).sum(dim=0)
