"""Computed tomography: an image from its projections along parallel rays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metadip.physics.operators import ImageShape
from metadip.physics.tomography import ParallelBeam
from metadip.tasks.arguments import is_finite_number, noise_range, one_image_shape
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.measuring import measure_with, read_with
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError

HALF_TURN_DEG = 180.0


@dataclass(frozen=True)
class TomographyTask:
    """Recover an image from its projections along parallel rays, y = A x + e.

    Model:
        A of ``ParallelBeam``. The problem's scale is ||1|| / ||A 1|| for a flat image 1: as A and
        the image are not negative, s A has its largest singular value near 1.
    Args:
        angles: how many directions, spread evenly over 180 degrees, or a list of them in degrees.
        noise_std: level in units of y, in which a ray through a white image of side 1 measures 1;
            or (low, high) from which each image draws uniformly.
    Raises:
        UserError: If an argument is out of range, or the list of angles is empty.
    Example:
        >>> task = TomographyTask(10, noise_std=0.0)
        >>> task.measure(torch.zeros(1, 1, 16, 16), seed=0).y.shape
        torch.Size([1, 1, 23, 10])
    """

    reads_images: ClassVar[bool] = False
    same_size: ClassVar[bool] = False

    angles: int | Sequence[float]
    _: KW_ONLY
    noise_std: float | Sequence[float]

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        noise_range(self.noise_std)
        if isinstance(self.angles, list | tuple):
            good = bool(self.angles) and all(map(is_finite_number, self.angles))
        else:
            good = isinstance(self.angles, int) and not isinstance(self.angles, bool)
            good = good and self.angles >= 1  # type: ignore[operator]
        if not good:
            raise UserError(
                f"task.angles={self.angles!r} must be a number of directions of at least 1, or a "
                "list of angles in degrees"
            )

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        physics = ParallelBeam(one_image_shape(x), angles_deg=self._angles_deg())
        physics = physics.to(device=x.device, dtype=x.dtype)
        return measure_with(
            physics, x, noise_std=self.noise_std, seed=seed, name=name, scale=_scale(physics, x)
        )

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y`` (C, detectors, angles), ``image_shape``, and ``angles`` in degrees if there.

        Without ``angles``, they are those of the task. Line integrals are in units of the larger
        side of the image: divide sums over pixels by its number of pixels.
        """
        y, shape = file.floats("y"), file.image_shape()
        angles_deg = self._angles_deg()
        if "angles" in file.content:
            angles_deg = file.floats("angles").flatten().tolist()
        if not angles_deg:
            raise file.error("angles", "is empty: give the directions of y in degrees")
        physics = ParallelBeam(shape, angles_deg=angles_deg)
        zero = torch.zeros(1, *shape)
        expected = tuple(physics.A(zero).shape[1:])
        if tuple(y.shape) != expected:
            raise file.error(
                "y",
                f"must have shape {expected} (C, detectors, angles) by image_shape and "
                f"{len(angles_deg)} angles, got {tuple(y.shape)}",
            )
        scale = _scale(physics, zero)
        return read_with(
            file, physics, y[None], image_shape=shape, noise_std=self.noise_std, scale=scale
        )

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return the angles and the shape of the image, None for other operators."""
        if not isinstance(problem.physics, ParallelBeam):
            return None
        angles = torch.tensor(problem.physics.angles_deg)
        return {"angles": angles, "image_shape": torch.tensor(problem.image_shape)}

    def check_size(self, image_shape: ImageShape) -> None:
        """Accept any size."""

    def _angles_deg(self) -> list[float]:
        if isinstance(self.angles, int):
            return [HALF_TURN_DEG * i / self.angles for i in range(self.angles)]
        return [float(angle) for angle in self.angles]


def _scale(physics: ParallelBeam, x: Tensor) -> float:
    with torch.no_grad():
        flat = torch.ones_like(x)
        return math.sqrt(float(flat.square().sum() / physics.A(flat).square().sum()))
