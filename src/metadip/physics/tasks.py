"""Tasks: what is to be undone. Each turns a clean image into an inverse problem, from one seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import ClassVar, get_args

import torch
from deepinv.physics import GaussianNoise, LinearPhysics, Physics
from torch import Tensor

from metadip.physics.noise import add_gaussian_noise, draw_noise_std, operator_seed
from metadip.physics.operators import (
    ImageShape,
    Magnitude,
    OperatorKind,
    check_matrix_size,
    draw_sensing,
)
from metadip.types import InverseProblem, UserError


def noise_range(noise_std: float | Sequence[float]) -> tuple[float, float]:
    """Return the lowest and highest noise level of a number or a (low, high) pair.

    Raises:
        UserError: not one or two finite numbers in [0, 1], or low above high.
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


def check_ratio(ratio: float, *, max_ratio: float) -> None:
    """Refuse a ratio outside (0, max_ratio].

    Raises:
        UserError: it is so, or no number.
    """
    if not is_finite_number(ratio) or not 0 < ratio <= max_ratio:
        raise UserError(f"task.ratio={ratio!r} must be a number above 0 and at most {max_ratio:g}")


def check_sensing(ratio: float, *, max_ratio: float, operator: str, max_bytes: int) -> None:
    """Refuse bad arguments of a sensing task.

    Raises:
        UserError: ``ratio`` is not in (0, max_ratio], ``operator`` is unknown, or ``max_bytes`` is
            not a positive number.
    """
    check_ratio(ratio, max_ratio=max_ratio)
    if operator not in get_args(OperatorKind):
        known = ", ".join(get_args(OperatorKind))
        raise UserError(f"task.operator={operator!r} is unknown; choose from {known}")
    if not is_finite_number(max_bytes) or max_bytes <= 0:
        raise UserError(f"task.max_bytes={max_bytes!r} must be a positive number of bytes")


def is_finite_number(value: object) -> bool:
    """Tell whether ``value`` is a real number, neither infinite nor NaN nor a truth value."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def one_image_shape(x: Tensor) -> ImageShape:
    """Return (C, H, W) of one image in a batch of one.

    Raises:
        ValueError: anything else, or not of floating point.
    """
    if x.ndim != 4 or x.shape[0] != 1 or not x.is_floating_point():
        raise ValueError(f"expected one float image (1, C, H, W), got {x.dtype} {tuple(x.shape)}")
    return int(x.shape[1]), int(x.shape[2]), int(x.shape[3])


@dataclass(frozen=True)
class CompressiveSensing:
    """Recover an image from few random linear measurements, y = A vec(x) + e.

    Model:
        M = max(1, round(ratio * N)) rows, E||A vec(x)||^2 = ||x||^2, e ~ N(0, noise_std^2).
    Args:
        ratio: M / N, in (0, 1].
        noise_std: level in units of y, or (low, high) from which each image draws uniformly.
        operator: "gaussian" (dense matrix), "structured" (fast), or "auto": dense where it fits
            into ``max_bytes``.
        max_bytes: largest dense matrix, in bytes of float32.
    Raises:
        UserError: an argument is out of range; in ``measure``, a matrix above ``max_bytes``.
    Cost: see ``GaussianSensing`` and ``StructuredSensing``; every image has an operator of its own.
    """

    n_layers: ClassVar[int] = 1

    ratio: float
    _: KW_ONLY
    noise_std: float | Sequence[float]
    operator: OperatorKind
    max_bytes: int

    def __post_init__(self) -> None:
        """Refuse bad arguments before anything is measured."""
        noise_range(self.noise_std)
        check_sensing(self.ratio, max_ratio=1, operator=self.operator, max_bytes=self.max_bytes)

    def physics_of(self, linear: LinearPhysics) -> Physics:
        """Return the forward operator x -> A vec(x)."""
        return linear

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        return _sense(x, self, seed=seed, name=name)


@dataclass(frozen=True)
class PhaseRetrieval:
    """Recover an image from the magnitudes of random linear measurements, y = |A vec(x)| + e.

    Model:
        as ``CompressiveSensing``; amplitudes, not intensities; A is real, so the signs are lost.
    Args:
        ratio: M / N, in (0, 8].
        noise_std: level in units of y, or (low, high) from which each image draws uniformly.
        operator: "gaussian" (dense matrix), "structured" (fast), or "auto": dense where it fits
            into ``max_bytes``.
        max_bytes: largest dense matrix, in bytes of float32.
    Raises:
        UserError: an argument is out of range; in ``measure``, a matrix above ``max_bytes``.
    Cost: see ``GaussianSensing`` and ``StructuredSensing``; every image has an operator of its own.
    """

    n_layers: ClassVar[int] = 2

    ratio: float
    _: KW_ONLY
    noise_std: float | Sequence[float]
    operator: OperatorKind
    max_bytes: int

    def __post_init__(self) -> None:
        """Refuse bad arguments before anything is measured."""
        noise_range(self.noise_std)
        check_sensing(self.ratio, max_ratio=8, operator=self.operator, max_bytes=self.max_bytes)

    def physics_of(self, linear: LinearPhysics) -> Physics:
        """Return the forward operator x -> |A vec(x)|."""
        return Magnitude(linear)

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        return _sense(x, self, seed=seed, name=name)


SensingTask = CompressiveSensing | PhaseRetrieval


def check_size(task: SensingTask, image_shape: ImageShape) -> None:
    """Refuse an image whose dense matrix would not fit, without drawing it.

    Raises:
        UserError: it is above ``task.max_bytes``.
    """
    if task.operator == "gaussian":
        check_matrix_size(image_shape, _count(task, image_shape), max_bytes=task.max_bytes)


def _count(task: SensingTask, image_shape: ImageShape) -> int:
    """Return the number of measurements of an image."""
    return max(1, round(task.ratio * math.prod(image_shape)))


def _sense(x: Tensor, task: SensingTask, *, seed: int, name: str) -> InverseProblem:
    """Measure one image with an operator drawn for it, on the device and in the precision of ``x``.

    Callers have left inference mode, because a fit differentiates through the operator's buffers.
    """
    shape = one_image_shape(x)
    linear = draw_sensing(
        task.operator,
        shape,
        n_measurements=_count(task, shape),
        seed=operator_seed(seed),
        max_bytes=task.max_bytes,
        n_layers=task.n_layers,
    )
    physics = task.physics_of(linear)
    std = draw_noise_std(*noise_range(task.noise_std), seed=seed)
    physics.set_noise_model(GaussianNoise(std))
    physics = physics.to(device=x.device, dtype=x.dtype)
    with torch.no_grad():
        y = add_gaussian_noise(physics.A(x), std, seed=seed)
    return InverseProblem(y, physics, shape, x=x, name=name, seed=seed)
