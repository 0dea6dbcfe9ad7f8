"""The mean squared error over the measurements, the data term of Net-GD."""

from __future__ import annotations

from torch import Tensor

from metadip.fitting.objectives import residual
from metadip.registry import registered
from metadip.types import Look


@registered("mean_mse")
def mean_mse(look: Look) -> Tensor:
    """Return ||y_hat - y||^2 / M, for step sizes that were chosen per measurement.

    ``mse`` divides by the number of pixels instead, so that step sizes hold for any M.
    """
    return residual(look).square().flatten(1).mean(dim=1)
