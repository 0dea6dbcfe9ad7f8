"""The single-pixel camera: an image from its products with patterns of +1 and -1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from metadip.physics.noise import operator_seed
from metadip.physics.operators import ImageShape
from metadip.physics.single_pixel import HadamardSensing, PatternSensing, SignSensing
from metadip.tasks.arguments import (
    check_choice,
    draw_number,
    noise_range,
    number_range,
    one_image_shape,
)
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.measuring import measure_with, read_with
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError

PATTERNS = ("hadamard", "random")
MAX_BYTES = 2**30  # of a matrix of random patterns
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class SinglePixelTask:
    """Recover an image from one number per pattern and channel, y = A x + e.

    Model:
        M = max(1, round(ratio H W)) patterns. A of ``HadamardSensing`` or ``SignSensing``; both
        keep the energy of smooth images, so that the scale is 1.
    Args:
        ratio: M / (H W), in (0, 1], or (low, high) from which each image draws; the inverse of the
            compression factor.
        patterns: hadamard (the smoothest ones) or random (of +1 and -1).
        noise_std: level in units of y, or (low, high) from which each image draws uniformly.
    Raises:
        UserError: If an argument is out of range or unknown, or, in ``measure``, random patterns
            would need more than 1 GiB.
    References:
        Duarte et al. (2008), Single-Pixel Imaging via Compressive Sampling.
    Example:
        >>> task = SinglePixelTask(0.25, patterns="hadamard", noise_std=0.0)
        >>> task.measure(torch.zeros(1, 3, 8, 8), seed=0).y.shape
        torch.Size([1, 3, 16])
    """

    reads_images: ClassVar[bool] = False
    same_size: ClassVar[bool] = False

    ratio: float | Sequence[float]
    _: KW_ONLY
    patterns: str
    noise_std: float | Sequence[float]

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        self._ratios()
        check_choice(self.patterns, PATTERNS, key="patterns")
        noise_range(self.noise_std)

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        shape = one_image_shape(x)
        self.check_size(shape)
        count = _count(draw_number(*self._ratios(), seed=seed), shape)
        physics = camera(self.patterns, shape, n_measurements=count, seed=operator_seed(seed))
        physics = physics.to(device=x.device, dtype=x.dtype)
        return measure_with(physics, x, noise_std=self.noise_std, seed=seed, name=name)

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y`` (C, M), ``image_shape`` and the patterns.

        These are a matrix ``A`` (M, H*W), or hadamard or random in ``patterns`` with the ``seed``
        of ours. The scale of a given A is sqrt(H*W) / ||A||_F.
        """
        y, shape = file.floats("y"), file.image_shape()
        if y.ndim != 2 or len(y) != shape[0]:
            raise file.error("y", f"must have shape ({shape[0]}, M), got {tuple(y.shape)}")
        n_pixels, scale = shape[1] * shape[2], 1.0
        physics: LinearPhysics
        if "A" in file.content:
            matrix, expected = file.floats("A"), (y.shape[1], n_pixels)
            if tuple(matrix.shape) != expected or not bool(matrix.any()):
                found = tuple(matrix.shape) if bool(matrix.any()) else "zeros alone"
                raise file.error("A", f"must have shape {expected} and not be zero, got {found}")
            physics = PatternSensing(matrix, image_shape=shape)
            scale = math.sqrt(n_pixels) / matrix.norm().item()
        else:
            kind = file.content.get("patterns", self.patterns)
            if kind not in PATTERNS:
                raise file.error("patterns", f"is {kind!r}; choose from {', '.join(PATTERNS)}")
            seed = file.integer("seed") if kind == "random" else 0
            physics = camera(str(kind), shape, n_measurements=y.shape[1], seed=seed)
            if tuple(physics.A(torch.zeros(1, *shape)).shape[1:]) != tuple(y.shape):
                raise file.error("y", f"has {y.shape[1]} values for {n_pixels} pixels: too many")
        return read_with(
            file, physics, y[None], image_shape=shape, noise_std=self.noise_std, scale=scale
        )

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return the patterns, as their seed or a matrix; None for other operators."""
        physics = problem.physics
        entries = {"image_shape": torch.tensor(problem.image_shape)}
        if isinstance(physics, HadamardSensing):
            return {**entries, "patterns": "hadamard"}
        if isinstance(physics, SignSensing):
            return {**entries, "patterns": "random", "seed": physics.seed}
        if isinstance(physics, PatternSensing):
            return {**entries, "A": physics.patterns.cpu()}
        return None

    def check_size(self, image_shape: ImageShape) -> None:
        """Reject images whose random patterns would take more than 1 GiB."""
        n_pixels = image_shape[1] * image_shape[2]
        n_bytes = FLOAT32_BYTES * n_pixels * _count(self._ratios()[1], image_shape)
        if self.patterns == "random" and n_bytes > MAX_BYTES:
            raise UserError(
                f"random patterns for {image_shape[2]} x {image_shape[1]} px need "
                f"{n_bytes / 1e9:.1f} GB: use task.patterns=hadamard, a lower task.ratio, or "
                "image_size="
            )

    def _ratios(self) -> tuple[float, float]:
        return number_range(self.ratio, key="ratio", above=0, at_most=1)


def camera(
    patterns: str, image_shape: ImageShape, *, n_measurements: int, seed: int
) -> LinearPhysics:
    """Return the operator of one of ``PATTERNS``."""
    if patterns == "hadamard":
        return HadamardSensing(image_shape, n_measurements=n_measurements)
    return SignSensing(image_shape, n_measurements=n_measurements, seed=seed)


def _count(ratio: float, image_shape: ImageShape) -> int:
    return max(1, round(ratio * image_shape[1] * image_shape[2]))
