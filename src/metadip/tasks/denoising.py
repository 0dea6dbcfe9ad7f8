"""Denoising: Gaussian, impulse, shot or speckle noise on the image itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from deepinv.physics import Denoising, GaussianNoise, NoiseModel
from torch import Tensor

from metadip.physics.camera import CameraNoise
from metadip.physics.noise import NOISES, add_noise, draw_noise_std
from metadip.physics.operators import ImageShape
from metadip.tasks.arguments import (
    image_shape_of,
    is_finite_number,
    middle_noise_std,
    noise_range,
)
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError


@dataclass(frozen=True)
class DenoisingTask:
    """Remove noise, y = N(x).

    Model:
        gaussian: y = x + e, e ~ N(0, level^2). impulse: a fraction ``level`` of the values, each
        channel on its own, is lost, half of them to 0 and half to 1. shot: y = Poisson(level x) /
        level. speckle: y = x + x e, e ~ N(0, level^2). ``physics.noise_model`` carries kind and
        level: deepinv's GaussianNoise, SaltPepperNoise, PoissonNoise, or our SpeckleNoise.
    Args:
        noise_std: standard deviation of Gaussian noise without a ``level``, in [0, 1] intensity, or
            (low, high) from which each image draws uniformly.
        clip: clamp y to [0, 1] as an 8-bit file would; False keeps the noise as drawn.
        noise: gaussian, impulse, shot or speckle.
        level: low, medium or high as in the early-stopping paper, clipped to [0, 1] and rounded to
            8 bits like its files whatever ``clip`` is; a number; or None to use ``noise_std``.
    Raises:
        UserError: If ``noise_std`` is not one or two finite numbers 0 <= low <= high <= 1,
            ``noise`` is unknown, or ``level`` does not fit it.
    References:
        Wang et al. (2021), Early Stopping for Deep Image Prior, arXiv:2112.06074.
        Hendrycks and Dietterich (2019), arXiv:1903.12261, severities 2 to 4 (all but impulse).
    Example:
        >>> problem = DenoisingTask(0.1, clip=False).measure(torch.zeros(1, 3, 8, 8), seed=0)
        >>> problem.y.shape, round(problem.physics.noise_model.sigma.item(), 3)
        (torch.Size([1, 3, 8, 8]), 0.1)
    """

    reads_images: ClassVar[bool] = True
    same_size: ClassVar[bool] = True

    noise_std: float | Sequence[float]
    _: KW_ONLY
    clip: bool
    noise: str = "gaussian"
    level: str | float | None = None

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        noise_range(self.noise_std)
        if self.noise not in NOISES:
            raise UserError(f"task.noise={self.noise} is unknown; choose from {', '.join(NOISES)}")
        kind = NOISES[self.noise]
        if self.level is None:
            fits = self.noise == "gaussian"
        elif isinstance(self.level, str):
            fits = self.level in kind.levels
        else:
            fits = is_finite_number(self.level) and kind.allowed(self.level)
        if not fits:
            given = "null" if self.level is None else self.level
            raise UserError(
                f"task.level={given} does not fit task.noise={self.noise}: "
                f"give {', '.join(kind.levels)}, or {kind.meaning}"
            )

    def noise_model(self, noise_std: float) -> NoiseModel:
        """Return the noise model for deepinv; ``noise_std`` is used if there is no level."""
        return NOISES[self.noise].model(self._level(noise_std))

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Add noise to ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        shape = image_shape_of(x)
        noise_std = draw_noise_std(*noise_range(self.noise_std), seed=seed)
        physics = Denoising(self.noise_model(noise_std)).to(device=x.device, dtype=x.dtype)
        with torch.no_grad():
            y = add_noise(self.noise, x, self._level(noise_std), seed=seed)
            if self.clip or isinstance(self.level, str):
                y = y.clamp(0, 1)
            if isinstance(self.level, str):
                y = (255 * y).round() / 255
        return InverseProblem(y, physics, shape, x=x, name=name, seed=seed)

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y``, an image in [0, 1] intensity; a grey image file has one channel.

        A ``noise_std`` in the file is that of Gaussian noise, and overrides the task's level.
        """
        y = file.intensities()
        shape = file.check_image_shape("y", tuple(y.shape[1:]))
        noise_std = file.noise_std(middle_noise_std(self.noise_std))
        given = "noise_std" in file.content and self.noise == "gaussian"
        physics = Denoising(GaussianNoise(noise_std) if given else self.noise_model(noise_std))
        return InverseProblem(y, physics, shape, x=file.truth(shape), name=file.path.stem)

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return no further entries; None for operators other than Denoising, and camera noise."""
        physics = problem.physics
        other = type(physics) is not Denoising or isinstance(physics.noise_model, CameraNoise)
        return None if other else {}

    def check_size(self, image_shape: ImageShape) -> None:
        """Accept any size."""

    def _level(self, noise_std: float) -> float:
        """Return the level as a number."""
        if isinstance(self.level, str):
            return NOISES[self.noise].levels[self.level]
        return noise_std if self.level is None else self.level
