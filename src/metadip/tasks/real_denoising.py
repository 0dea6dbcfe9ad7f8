"""Denoising of photographs whose noise is that of a camera, unknown to the method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from deepinv.physics import Denoising
from torch import Tensor

from metadip.physics.camera import CameraNoise
from metadip.physics.operators import ImageShape
from metadip.seeding import Stream, generator_of
from metadip.tasks.arguments import draw_number, is_finite_number, number_range, one_image_shape
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError


@dataclass(frozen=True)
class RealNoiseTask:
    """Remove the noise of a camera, y = N(x) of ``CameraNoise``.

    Model:
        The noise model has no level that a method could read: what asks for one is refused.
    Args:
        shot: variance of the noise per linear intensity, in (0, 1], or (low, high) from which each
            image draws.
        read_std: standard deviation of the noise at black, in linear intensity, 0 to 1.
    Raises:
        UserError: If an argument is out of range.
    Example:
        >>> RealNoiseTask(0.01, read_std=0.01).measure(torch.rand(1, 3, 8, 8), seed=0).y.shape
        torch.Size([1, 3, 8, 8])
    """

    reads_images: ClassVar[bool] = True
    same_size: ClassVar[bool] = True

    shot: float | Sequence[float]
    _: KW_ONLY
    read_std: float

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        number_range(self.shot, key="shot", above=0, at_most=1)
        if not is_finite_number(self.read_std) or not 0 <= self.read_std <= 1:
            raise UserError(f"task.read_std={self.read_std!r} must be a number from 0 to 1")

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Photograph ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        shape, ends = one_image_shape(x), number_range(self.shot, key="shot", above=0, at_most=1)
        noise = CameraNoise(draw_number(*ends, seed=seed), self.read_std)
        noise = noise.to(device=x.device, dtype=x.dtype)
        with torch.no_grad():
            y = noise.drawn(x, generator_of(seed, Stream.NOISE))
        return InverseProblem(y, Denoising(noise), shape, x=x, name=name, seed=seed)

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y``, a photograph in [0, 1] intensity; ``shot`` and ``read_std`` if there."""
        y = file.intensities()
        shape = file.check_image_shape("y", tuple(y.shape[1:]))
        middle = sum(number_range(self.shot, key="shot", above=0, at_most=1)) / 2
        shot, read_std = (
            _level(file, key, fallback)
            for key, fallback in (("shot", middle), ("read_std", self.read_std))
        )
        physics, x = Denoising(CameraNoise(shot, read_std)), file.truth(shape)
        return InverseProblem(y, physics, shape, x=x, name=file.path.stem)

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return the levels of a camera's noise, None for other noise and operators."""
        noise = getattr(problem.physics, "noise_model", None)
        if not isinstance(problem.physics, Denoising) or not isinstance(noise, CameraNoise):
            return None
        return {"shot": float(noise.shot), "read_std": float(noise.read_std)}

    def check_size(self, image_shape: ImageShape) -> None:
        """Accept any size."""


def _level(file: MeasurementFile, key: str, fallback: float) -> float:
    if key not in file.content:
        return fallback
    value = file.scalar(key)
    if not isinstance(value, float | int) or not 0 <= value < math.inf:
        raise file.error(key, f"must be a finite number of at least 0, got {value!r}")
    return float(value)
