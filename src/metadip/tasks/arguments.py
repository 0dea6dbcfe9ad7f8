"""Checks of the arguments that tasks share: noise levels, ratios, images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Real

import torch
from torch import Tensor

from metadip.data.images import LUMINANCE
from metadip.physics.operators import ImageShape
from metadip.seeding import Stream, generator_of
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


def number_range(
    value: float | Sequence[float], *, key: str, above: float, at_most: float
) -> tuple[float, float]:
    """Return the lowest and highest value of a setting, a number or a (low, high) pair.

    Raises:
        UserError: If ``value`` is not one or two numbers with above < low <= high <= at_most.
    """
    ends = tuple(value) if isinstance(value, list | tuple) else (value,)
    numbers = len(ends) in (1, 2) and all(map(is_finite_number, ends))
    if not numbers or not above < ends[0] <= ends[-1] <= at_most:
        raise UserError(
            f"task.{key}={value!r} must be a number above {above:g} and at most {at_most:g}, "
            "or two: [low, high]"
        )
    return float(ends[0]), float(ends[-1])


def check_choice(value: object, known: Iterable[str], *, key: str) -> None:
    """Check that a setting is one of the known names.

    Raises:
        UserError: If it is not.
    """
    names = list(known)
    if value not in names:
        close = get_close_matches(str(value), names, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UserError(f"task.{key}={value} is unknown; {hint}choose from {', '.join(names)}")


def draw_number(low: float, high: float, *, seed: int) -> float:
    """Draw a setting of the measurement with ``seed`` uniformly from [low, high]."""
    coin = torch.rand((), generator=generator_of(seed, Stream.SETTING)).item()
    return low + (high - low) * coin


def is_finite_number(value: object) -> bool:
    """Return whether ``value`` is a finite real number; booleans are not."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def image_shape_of(x: Tensor) -> ImageShape:
    """Return (C, H, W) of images (B, C, H, W), which a task measures with one operator.

    Raises:
        ValueError: If ``x`` has another shape or is not a floating-point tensor.
    """
    if x.ndim != 4 or not len(x) or not x.is_floating_point():
        raise ValueError(f"expected float images (B, C, H, W), got {x.dtype} {tuple(x.shape)}")
    return int(x.shape[1]), int(x.shape[2]), int(x.shape[3])


def one_image_shape(x: Tensor) -> ImageShape:
    """Return (C, H, W) of one image in a batch of one.

    Raises:
        ValueError: If ``x`` has another shape or is not a floating-point tensor.
    """
    if x.ndim != 4 or len(x) != 1 or not x.is_floating_point():
        raise ValueError(f"expected one float image (1, C, H, W), got {x.dtype} {tuple(x.shape)}")
    return image_shape_of(x)


def as_grey(x: Tensor) -> Tensor:
    """Return the luminance (1, 1, H, W) of a colour image, the mean of any other channels."""
    if x.shape[1] == 1:
        return x
    if x.shape[1] != len(LUMINANCE):
        return x.mean(1, keepdim=True)
    weights = torch.tensor(LUMINANCE).to(x).view(1, 3, 1, 1)
    return (weights * x).sum(1, keepdim=True)
