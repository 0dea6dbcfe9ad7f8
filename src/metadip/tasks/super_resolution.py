"""Super-resolution: a small image, shrunk with an antialiasing kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metadip.physics.downsampling import RESAMPLINGS, SeparableDownsampling, check_divides
from metadip.physics.operators import ImageShape
from metadip.tasks.arguments import check_choice, draw_number, image_shape_of, noise_range
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.measuring import measure_with, read_with
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError

MAX_FACTOR = 16


@dataclass(frozen=True)
class SuperResolutionTask:
    """Enlarge a small image, y = A x + e with A of ``SeparableDownsampling``.

    Model:
        The problem's scale is the factor: s A keeps the energy of smooth images, so that its
        largest singular value is near 1. ||s A||_F^2 = C*H*W instead would ask for about
        factor^2, and the steps learned at other tasks would diverge.
    Args:
        factor: how many times larger each side becomes, 2 to 16; of a list, each image draws one.
        kernel: lanczos2 or bicubic.
        noise_std: level in [0, 1] intensity, or (low, high) from which each image draws uniformly.
    Raises:
        UserError: If an argument is out of range or unknown, or, in ``measure``, the factor does
            not divide the sides of the image.
    References:
        Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925 (factors 4 and 8, lanczos2).
    Example:
        >>> task = SuperResolutionTask(4, kernel="lanczos2", noise_std=0.0)
        >>> task.measure(torch.zeros(1, 3, 16, 8), seed=0).y.shape
        torch.Size([1, 3, 4, 2])
    """

    reads_images: ClassVar[bool] = True
    same_size: ClassVar[bool] = False

    factor: int | Sequence[int]
    _: KW_ONLY
    kernel: str
    noise_std: float | Sequence[float]

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        if not self._factors() or not all(map(_is_factor, self._factors())):
            raise UserError(
                f"task.factor={self.factor!r} must be a whole number from 2 to {MAX_FACTOR}, "
                "or a list of them"
            )
        check_choice(self.kernel, RESAMPLINGS, key="kernel")
        noise_range(self.noise_std)

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        factors = self._factors()
        factor = factors[int(draw_number(0, len(factors), seed=seed))]
        physics = SeparableDownsampling(image_shape_of(x), factor=factor, kernel=self.kernel)
        return measure_with(
            physics.to(device=x.device, dtype=x.dtype),
            x,
            noise_std=self.noise_std,
            seed=seed,
            name=name,
            scale=float(factor),
        )

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y``, a small image in [0, 1] intensity, and ``factor`` and ``kernel`` if there.

        An image file is small as it is; factor and kernel are then those of the task.
        """
        y = file.intensities()
        factor, kernel = self._factor_of(file), file.content.get("kernel", self.kernel)
        if kernel not in RESAMPLINGS:
            raise file.error("kernel", f"is {kernel!r}; choose from {', '.join(RESAMPLINGS)}")
        channels, height, width = y.shape[1:]
        shape = file.check_image_shape("y", (channels, factor * height, factor * width))
        physics = SeparableDownsampling(shape, factor=factor, kernel=str(kernel))
        return read_with(
            file, physics, y, image_shape=shape, noise_std=self.noise_std, scale=float(factor)
        )

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return factor and kernel, None for other operators."""
        if not isinstance(problem.physics, SeparableDownsampling):
            return None
        return {"factor": problem.physics.factor, "kernel": problem.physics.kernel}

    def check_size(self, image_shape: ImageShape) -> None:
        """Reject images whose sides a factor does not divide."""
        for factor in self._factors():
            check_divides(factor, image_shape)

    def _factors(self) -> list[int]:
        return [*self.factor] if isinstance(self.factor, list | tuple) else [self.factor]  # type: ignore[list-item]

    def _factor_of(self, file: MeasurementFile) -> int:
        """Return the factor of a file, or that of the task if it is one number."""
        if "factor" in file.content:
            return file.integer("factor", minimum=2, maximum=MAX_FACTOR)
        if len(self._factors()) > 1:
            raise UserError(
                f"{file.path}: task.factor={self.factor} must be one number for a measurement"
            )
        return self._factors()[0]


def _is_factor(value: object) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and 2 <= value <= MAX_FACTOR  # type: ignore[operator]
