"""Demosaicking: a colour image from a sensor that sees one colour per pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from deepinv.physics import Demosaicing
from torch import Tensor

from metadip.physics.operators import ImageShape
from metadip.tasks.arguments import check_choice, noise_range, one_image_shape
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.measuring import measure_with, read_with
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError

COLOURS = 3
# How far deepinv's pattern, which is bggr, is rolled down and right. A name lists the colours of
# the first two pixels of the first row and of the second.
PATTERNS: Mapping[str, tuple[int, int]] = {
    "rggb": (1, 1),
    "bggr": (0, 0),
    "grbg": (1, 0),
    "gbrg": (0, 1),
}


@dataclass(frozen=True)
class DemosaickingTask:
    """Recover a colour image from a Bayer mosaic, y = m (x + e).

    Model:
        m keeps one colour of each pixel. The problem's scale sqrt(values / values kept) gives
        ||s A||_F^2 = C*H*W.
    Args:
        pattern: colours of the first four pixels: rggb, bggr, grbg or gbrg.
        noise_std: level in [0, 1] intensity, or (low, high) from which each image draws uniformly.
    Raises:
        UserError: If an argument is unknown or out of range, or, in ``measure``, the image does not
            have three channels.
    Example:
        >>> task = DemosaickingTask("rggb", noise_std=0.0)
        >>> task.measure(torch.ones(1, 3, 2, 2), seed=0).y[0].flatten(1).tolist()
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """

    reads_images: ClassVar[bool] = True
    same_size: ClassVar[bool] = True

    pattern: str
    _: KW_ONLY
    noise_std: float | Sequence[float]

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        check_choice(self.pattern, PATTERNS, key="pattern")
        noise_range(self.noise_std)

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, 3, H, W); see ``metadip.types.Task``."""
        physics = mosaic(one_image_shape(x), self.pattern).to(device=x.device, dtype=x.dtype)
        return measure_with(
            physics,
            x,
            noise_std=self.noise_std,
            seed=seed,
            name=name,
            scale=_scale(physics.mask),
            kept=physics.mask,
        )

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y``, a mosaic (1, H, W) or (3, H, W) in [0, 1] intensity, and its ``pattern``.

        Of three channels, the values at other colours are ignored.
        """
        y, pattern = file.intensities(), file.content.get("pattern", self.pattern)
        if pattern not in PATTERNS:
            raise file.error("pattern", f"is {pattern!r}; choose from {', '.join(PATTERNS)}")
        if y.shape[1] not in (1, COLOURS):
            raise file.error("y", f"must be a mosaic of 1 or 3 channels, got {y.shape[1]}")
        shape = (COLOURS, int(y.shape[-2]), int(y.shape[-1]))
        physics = mosaic(shape, str(pattern))
        return read_with(
            file,
            physics,
            physics.mask * y,
            image_shape=shape,
            noise_std=self.noise_std,
            scale=_scale(physics.mask),
        )

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return the pattern, None for other operators."""
        physics = problem.physics
        if not isinstance(physics, Demosaicing):
            return None
        for pattern in PATTERNS:
            if torch.equal(physics.mask.cpu(), mosaic(problem.image_shape, pattern).mask):
                return {"pattern": pattern}
        return None

    def check_size(self, image_shape: ImageShape) -> None:
        """Reject images that are not in colour."""
        _check_colour(image_shape)


def mosaic(image_shape: ImageShape, pattern: str) -> Demosaicing:
    """Return deepinv's operator with one of ``PATTERNS``.

    Raises:
        UserError: If the image does not have three channels.
    """
    _check_colour(image_shape)
    down, right = PATTERNS[pattern]
    channels, height, width = image_shape
    physics = Demosaicing(img_size=(channels, height + down, width + right))
    physics.mask = physics.mask[..., down:, right:].contiguous()
    physics.img_size = tuple(image_shape)
    return physics


def _check_colour(image_shape: ImageShape) -> None:
    if image_shape[0] != COLOURS:
        raise UserError(
            f"task=demosaick needs colour images of 3 channels, got {image_shape[0]}: use another "
            "image or method"
        )


def _scale(mask: Tensor) -> float:
    return 1 / math.sqrt(mask.mean().item())
