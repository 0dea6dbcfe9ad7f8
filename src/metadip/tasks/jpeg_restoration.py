"""Removing the artefacts of JPEG compression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metadip.physics.jpeg import COLOUR, GREY, JPEGCompression, UncodedImage, jpeg_file
from metadip.physics.operators import ImageShape
from metadip.tasks.arguments import draw_number, number_range, one_image_shape
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError

MAX_QUALITY = 100


@dataclass(frozen=True)
class JPEGTask:
    """Recover an image from its JPEG file, y = JPEG(x).

    Model:
        y comes from a real file. A fit explains it as it is, or through ``JPEGCompression``, whose
        scale is 1 as it is close to the identity. Through the codec nothing restrains what its
        rounding removes.
    Args:
        quality: of the file, a whole number from 1 to 100, or (low, high) from which each image
            draws.
        codec: fit through the codec.
    Raises:
        UserError: If ``quality`` is out of range, ``codec`` is neither true nor false, or, in
            ``measure``, the image has neither 1 nor 3 channels.
    References:
        Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925 (without the codec).
    Example:
        >>> problem = JPEGTask(20, codec=True).measure(torch.rand(1, 3, 16, 24), seed=0)
        >>> problem.y.shape, problem.physics.quality.item()
        (torch.Size([1, 3, 16, 24]), 20.0)
    """

    reads_images: ClassVar[bool] = True
    same_size: ClassVar[bool] = True

    quality: float | Sequence[float]
    _: KW_ONLY
    codec: bool

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        self._qualities()
        if not isinstance(self.codec, bool):
            raise UserError(f"task.codec={self.codec!r} must be true or false")

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        shape = one_image_shape(x)
        self.check_size(shape)
        quality = round(draw_number(*self._qualities(), seed=seed))
        physics = self._physics(quality).to(device=x.device, dtype=x.dtype)
        return InverseProblem(jpeg_file(x, quality), physics, shape, x=x, name=name, seed=seed)

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y``, a compressed image, and ``quality`` if there; else that of the task."""
        y = file.intensities()
        shape = file.check_image_shape("y", tuple(y.shape[1:]))
        self.check_size(shape)
        low, high = self._qualities()
        quality = low
        if "quality" in file.content:
            quality = file.integer("quality", minimum=1, maximum=MAX_QUALITY)
        elif low != high:
            raise UserError(
                f"{file.path}: task.quality={self.quality} must be one number for a measurement"
            )
        physics, x = self._physics(quality), file.truth(shape)
        return InverseProblem(y, physics, shape, x=x, name=file.path.stem)

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return the quality, None for other operators."""
        if not isinstance(problem.physics, JPEGCompression | UncodedImage):
            return None
        return {"quality": round(problem.physics.quality.item())}

    def check_size(self, image_shape: ImageShape) -> None:
        """Reject images that are neither grey nor in colour."""
        if image_shape[0] not in (GREY, COLOUR):
            raise UserError(
                f"task=jpeg needs images of 1 or 3 channels, got {image_shape[0]}: use another "
                "image or method"
            )

    def _physics(self, quality: float) -> JPEGCompression | UncodedImage:
        return JPEGCompression(quality) if self.codec else UncodedImage(quality)

    def _qualities(self) -> tuple[float, float]:
        low, high = number_range(self.quality, key="quality", above=0, at_most=MAX_QUALITY)
        if low != round(low) or high != round(high):
            raise UserError(f"task.quality={self.quality!r} must be whole: 1 to {MAX_QUALITY}")
        return low, high
