"""The root of the mean squared error, the data term of the Deep Random Projector."""

from __future__ import annotations

from torch import Tensor

from metadip.fitting.objectives import mse
from metadip.registry import registered
from metadip.types import Look


@registered("rmse")
def rmse(look: Look) -> Tensor:
    """Return the square root of ``mse``, whose gradient does not shrink as the error falls.

    A perfect fit has no gradient, and is treated as diverged.
    """
    return mse(look).sqrt()
