"""Checks of the arguments that tasks share: noise levels, ratios, images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from torch import Tensor

from metadip.physics.operators import ImageShape
from metadip.types import UserError


def noise_range(noise_std: float | Sequence[float]) -> tuple[float, float]:
    """Return the lowest and highest noise level of a number or a (low, high) pair.

    Raises:
        UserError: If ``noise_std`` is not one or two finite numbers in [0, 1], or low is above
            high.
    """
    ends = tuple(noise_std) if isinstance(noise_std, list | tuple) else (noise_std,)
    if len(ends) not in (1, 2) or not all(map(is_finite_number, ends)):
        raise UserError(
            f"task.noise_std={noise_std!r} must be a finite number from 0 to 1, or two: [low, high]"
        )
    low, high = float(ends[0]), float(ends[-1])
    if not 0 <= low <= high <= 1:
        hint = f"; in [0, 1] intensity {high:g}/255 is {high / 255:.3g}" if high > 1 else ""
        raise UserError(f"task.noise_std={noise_std!r} must satisfy 0 <= low <= high <= 1{hint}")
    return low, high


def middle_noise_std(noise_std: float | Sequence[float]) -> float:
    """Return the middle of a task's noise levels, assumed for files that do not give one."""
    return sum(noise_range(noise_std)) / 2


def check_ratio(ratio: float, *, max_ratio: float) -> None:
    """Check that a ratio is in (0, max_ratio].

    Raises:
        UserError: If ``ratio`` is outside this range or not a number.
    """
    if not is_finite_number(ratio) or not 0 < ratio <= max_ratio:
        raise UserError(f"task.ratio={ratio!r} must be a number above 0 and at most {max_ratio:g}")


def is_finite_number(value: object) -> bool:
    """Return whether ``value`` is a finite real number; booleans are not."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def one_image_shape(x: Tensor) -> ImageShape:
    """Return (C, H, W) of one image in a batch of one.

    Raises:
        ValueError: If ``x`` has another shape or is not a floating-point tensor.
    """
    if x.ndim != 4 or x.shape[0] != 1 or not x.is_floating_point():
        raise ValueError(f"expected one float image (1, C, H, W), got {x.dtype} {tuple(x.shape)}")
    return int(x.shape[1]), int(x.shape[2]), int(x.shape[3])
