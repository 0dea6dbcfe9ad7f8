"""Weight decay as a term of the objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metadip.registry import registered
from metadip.types import Look


@registered("weight_decay")
@dataclass(frozen=True)
class WeightDecay:
    """Half the squared norm of all weights, times a weight.

    Model:
        weight ||theta||^2 / 2, with the gradient of ``weight_decay`` in ``torch.optim.Adam``.
    Args:
        weight: at least 0; 5e-8 in GP-DIP.
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
        squares = [w.reshape(len(w), -1).square().sum(dim=1) for w in look.weights.values()]
        return self.weight / 2 * torch.stack(squares).sum(dim=0)
