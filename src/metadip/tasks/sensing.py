"""Random linear measurements, with or without their signs: what the sensing tasks share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, cast, get_args

import torch
from deepinv.physics import GaussianNoise, LinearPhysics, Physics
from torch import Tensor

from metadip.physics.noise import add_gaussian_noise, draw_noise_std, operator_seed
from metadip.physics.operators import (
    GaussianSensing,
    ImageShape,
    MatrixSensing,
    OperatorKind,
    StructuredSensing,
    check_matrix_size,
    draw_sensing,
)
from metadip.tasks.arguments import (
    draw_number,
    image_shape_of,
    is_finite_number,
    middle_noise_std,
    noise_range,
    number_range,
)
from metadip.tasks.measurement_file import MeasurementFile, told
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError


class SensingSettings(Protocol):
    """The settings of a sensing task that the functions below read."""

    @property
    def ratio(self) -> float | Sequence[float]:
        """M / N, or (low, high)."""
        ...

    @property
    def max_ratio(self) -> float:
        """Largest M / N that makes sense."""
        ...

    @property
    def noise_std(self) -> float | Sequence[float]:
        """Level in units of y, or (low, high)."""
        ...

    @property
    def operator(self) -> OperatorKind:
        """Kind of operator."""
        ...

    @property
    def max_bytes(self) -> int:
        """Largest dense matrix, in bytes of float32."""
        ...

    @property
    def n_layers(self) -> int:
        """Layers of structured operators."""
        ...

    def physics_of(self, linear: LinearPhysics) -> Physics:
        """Return the forward operator built on a linear one."""
        ...


def check_sensing(task: SensingSettings) -> None:
    """Check the arguments of a sensing task.

    Raises:
        UserError: If ``ratio`` is not in (0, task.max_ratio], ``noise_std`` is out of range,
            ``operator`` is unknown, or ``max_bytes`` is not a positive number.
    """
    noise_range(task.noise_std)
    _ratios(task)
    if task.operator not in get_args(OperatorKind):
        known = ", ".join(get_args(OperatorKind))
        raise UserError(f"task.operator={task.operator!r} is unknown; choose from {known}")
    if not is_finite_number(task.max_bytes) or task.max_bytes <= 0:
        raise UserError(f"task.max_bytes={task.max_bytes!r} must be a positive number of bytes")


def check_image_size(task: SensingSettings, image_shape: ImageShape) -> None:
    """Reject images whose dense matrix would not fit, without drawing it.

    Raises:
        UserError: If the matrix is above ``task.max_bytes``.
    """
    if task.operator == "gaussian":
        most = _count(_ratios(task)[1], image_shape)
        check_matrix_size(image_shape, most, max_bytes=task.max_bytes)


def sense(x: Tensor, task: SensingSettings, *, seed: int, name: str) -> InverseProblem:
    """Measure one image with an operator drawn for it, on the device and in the precision of ``x``.

    Callers must have left inference mode: a fit differentiates through the operator's buffers.
    """
    shape = image_shape_of(x)
    linear = draw_sensing(
        task.operator,
        shape,
        n_measurements=_count(draw_number(*_ratios(task), seed=seed), shape),
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


def read_sensing(file: MeasurementFile, task: SensingSettings) -> InverseProblem:
    """Read measurements and their operator, a matrix or one of ours.

    Model:
        ``y`` (M,), ``image_shape`` (C, H, W), and either ``A`` (M, C*H*W) or the ``seed`` of one of
        our operators, with its name in ``operator`` (that of the task if absent). M comes from the
        file, not from the task's ratio. The scale of a given A is sqrt(C*H*W) / ||A||_F, so that
        E||s A vec(x)||^2 = ||x||^2, for which step sizes are learned.
    """
    y, shape = file.floats("y"), file.image_shape()
    noise_std = file.noise_std(middle_noise_std(task.noise_std))
    if y.ndim != 1 or not len(y):
        raise file.error("y", f"must have shape (M,), got {tuple(y.shape)}")
    linear, scale = _operator_of(file, task, shape, n_measurements=len(y))
    physics, x = task.physics_of(linear), file.truth(shape)
    physics.set_noise_model(GaussianNoise(noise_std))
    return InverseProblem(y[None], physics, shape, x=x, name=file.path.stem, scale=scale)


def write_linear(linear: Physics, image_shape: ImageShape) -> Entries | None:
    """Return the entries of a sensing operator, its seed or else its matrix; None for others."""
    shape = {"image_shape": torch.tensor(image_shape)}
    if isinstance(linear, StructuredSensing):
        drawn = {"seed": linear.seed, "n_layers": linear.n_layers}
        return {**shape, "operator": "structured", **drawn}
    if isinstance(linear, GaussianSensing):
        return {**shape, "operator": "gaussian", "seed": linear.seed}
    if isinstance(linear, MatrixSensing):
        return {**shape, "A": linear.matrix.cpu()}
    return None


def _operator_of(
    file: MeasurementFile, task: SensingSettings, shape: ImageShape, *, n_measurements: int
) -> tuple[LinearPhysics, float]:
    """Return the linear operator of a file, and its scale."""
    if "A" in file.content:
        matrix, expected = file.floats("A"), (n_measurements, math.prod(shape))
        if tuple(matrix.shape) != expected:
            found = tuple(matrix.shape)
            raise file.error("A", f"must have shape {expected} by y and image_shape, got {found}")
        norm = matrix.norm().item()
        if norm == 0:
            raise file.error("A", "is zero everywhere")
        return MatrixSensing(matrix, image_shape=shape), math.sqrt(expected[1]) / norm
    layers = file.integer("n_layers", minimum=1) if "n_layers" in file.content else None
    kind = _kind_of(file, task.operator)
    file.get("seed", "that of one of our operators, or give the matrix as A")
    linear = draw_sensing(
        kind,
        shape,
        n_measurements=n_measurements,
        seed=file.integer("seed"),
        max_bytes=task.max_bytes,
        n_layers=layers or task.n_layers,
    )
    return linear, 1.0


def _kind_of(file: MeasurementFile, fallback: OperatorKind) -> OperatorKind:
    """Return the kind of operator that a file names, or ``fallback``."""
    kind, known = file.content.get("operator", fallback), get_args(OperatorKind)
    if not isinstance(kind, str) or kind not in known:
        raise file.error("operator", f"is {told(kind)}; choose from {', '.join(known)}")
    return cast("OperatorKind", kind)


def _ratios(task: SensingSettings) -> tuple[float, float]:
    return number_range(task.ratio, key="ratio", above=0, at_most=task.max_ratio)


def _count(ratio: float, image_shape: ImageShape) -> int:
    """Return the number of measurements of an image."""
    return max(1, round(ratio * math.prod(image_shape)))
