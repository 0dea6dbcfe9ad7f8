"""Weights of the parts of a mixture."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from numbers import Real

from metadip.types import UserError


def check_weights(weights: Mapping[str, float], parts: Collection[str], *, key: str) -> None:
    """Reject weights that do not say how often each part is drawn.

    Args:
        weights: one per part, relative to the others.
        parts: names of the parts.
        key: name of the setting that holds the weights, for errors.
    Raises:
        UserError: If a name has no part, a part has no weight, a weight is not a finite number of
            at least 0, or none is above 0.
    """
    named = ", ".join(parts) or "nothing"
    for name in weights:
        if name not in parts:
            raise UserError(f"{key}.{name} weighs what is not there; there are {named}")
    for name in parts:
        if name not in weights:
            raise UserError(f"{key}.{name} must be given, 0 to leave it out")
        weight = weights[name]
        if isinstance(weight, bool) or not isinstance(weight, Real) or not 0 <= weight < math.inf:
            raise UserError(f"{key}.{name}={weight!r} must be a finite number of at least 0")
    if not any(weights.values()):
        raise UserError(f"{key} are all 0: give at least one of {named} a weight above 0")
