"""Compressive sensing: few random linear measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from deepinv.physics import LinearPhysics, Physics
from torch import Tensor

from metadip.physics.operators import ImageShape, OperatorKind
from metadip.tasks import sensing
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem


@dataclass(frozen=True)
class CompressiveSensingTask:
    """Recover an image from few random linear measurements, y = A vec(x) + e.

    Model:
        M = max(1, round(ratio * N)) rows, E||A vec(x)||^2 = ||x||^2, e ~ N(0, noise_std^2).
    Args:
        ratio: M / N, in (0, 1], or (low, high) from which each image draws.
        noise_std: level in units of y, or (low, high) from which each image draws uniformly.
        operator: "structured" (fast, any size), or "gaussian" (dense matrix).
        max_bytes: largest dense matrix, in bytes of float32.
    Raises:
        UserError: If an argument is out of range, or, in ``measure``, the matrix is above
            ``max_bytes``.
    Cost: see ``GaussianSensing`` and ``StructuredSensing``; every image has its own operator.
    Example:
        >>> task = CompressiveSensingTask(
        ...     0.5, noise_std=0.0, operator="structured", max_bytes=2**20
        ... )
        >>> task.measure(torch.zeros(1, 3, 8, 8), seed=0).y.shape
        torch.Size([1, 96])
    """

    reads_images: ClassVar[bool] = False
    same_size: ClassVar[bool] = False
    max_ratio: ClassVar[float] = 1
    n_layers: ClassVar[int] = 1

    ratio: float | Sequence[float]
    _: KW_ONLY
    noise_std: float | Sequence[float]
    operator: OperatorKind
    max_bytes: int

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        sensing.check_sensing(self)

    def physics_of(self, linear: LinearPhysics) -> Physics:
        """Return the forward operator x -> A vec(x)."""
        return linear

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        return sensing.sense(x, self, seed=seed, name=name)

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read linear measurements and their operator; see ``metadip.tasks.sensing``."""
        return sensing.read_sensing(file, self)

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return the entries of a linear sensing operator, None for others."""
        return sensing.write_linear(problem.physics, problem.image_shape)

    def check_size(self, image_shape: ImageShape) -> None:
        """Reject images whose dense matrix would be above ``max_bytes``."""
        sensing.check_image_size(self, image_shape)
