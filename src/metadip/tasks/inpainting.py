"""Inpainting: pixels lost at random places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from deepinv.physics import GaussianNoise, Inpainting
from torch import Tensor

from metadip.physics.noise import add_gaussian_noise, draw_noise_std, operator_seed
from metadip.physics.operators import ImageShape
from metadip.tasks.arguments import (
    check_ratio,
    middle_noise_std,
    noise_range,
    one_image_shape,
)
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError


@dataclass(frozen=True)
class InpaintingTask:
    """Fill in pixels that were lost at random, y = m (x + e) with a mask m of zeros and ones.

    Model:
        Each pixel is kept with probability ``ratio``, and at least one of them. The problem's scale
        s = sqrt(values / values kept) gives ||s A||_F^2 = C*H*W, at which step sizes are learned
        for every task; without it the steps would be too short by 1 / s^2.
    Args:
        ratio: fraction of pixels kept, in (0, 1].
        noise_std: level in [0, 1] intensity, or (low, high) from which each image draws uniformly.
        per_channel: drop the values of each channel independently; False drops whole pixels.
    Raises:
        UserError: If ``ratio`` or ``noise_std`` is out of range, or ``per_channel`` is neither
            true nor false.
    References:
        Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925 (half of the pixels lost).
    Example:
        >>> task = InpaintingTask(0.5, noise_std=0.0, per_channel=False)
        >>> problem = task.measure(torch.full((1, 3, 8, 8), 0.5), seed=0)
        >>> problem.y.shape, problem.y.unique().tolist()
        (torch.Size([1, 3, 8, 8]), [0.0, 0.5])
    """

    reads_images: ClassVar[bool] = False
    same_size: ClassVar[bool] = True

    ratio: float
    _: KW_ONLY
    noise_std: float | Sequence[float]
    per_channel: bool

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        check_ratio(self.ratio, max_ratio=1)
        noise_range(self.noise_std)
        if not isinstance(self.per_channel, bool):
            raise UserError(f"task.per_channel={self.per_channel!r} must be true or false")

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        shape = one_image_shape(x)
        mask = draw_mask(
            shape if self.per_channel else (1, *shape[1:]),
            ratio=self.ratio,
            seed=operator_seed(seed),
        )
        std = draw_noise_std(*noise_range(self.noise_std), seed=seed)
        physics = _masking(mask, shape, noise_std=std).to(device=x.device, dtype=x.dtype)
        with torch.no_grad():
            y = physics.A(add_gaussian_noise(x, std, seed=seed))
        return InverseProblem(y, physics, shape, x=x, name=name, seed=seed, scale=_scale(mask))

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y``, an image in [0, 1] intensity, and ``mask``, (H, W) or (C, H, W).

        The mask is 1 where ``y`` was observed and 0 where it was lost; lost values are ignored.
        """
        y = file.intensities()
        shape = file.check_image_shape("y", tuple(y.shape[1:]))
        mask = _mask_of(file, shape)
        std = file.noise_std(middle_noise_std(self.noise_std))
        physics, x = _masking(mask, shape, noise_std=std), file.truth(shape)
        return InverseProblem(
            physics.A(y), physics, shape, x=x, name=file.path.stem, scale=_scale(mask)
        )

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return the mask, or None for operators other than masks of zeros and ones."""
        if not isinstance(problem.physics, Inpainting) or not _is_binary(problem.physics.mask):
            return None
        return {"mask": problem.physics.mask[0].cpu()}

    def check_size(self, image_shape: ImageShape) -> None:
        """Accept any size."""


def draw_mask(shape: ImageShape, *, ratio: float, seed: int) -> Tensor:
    """Return a random mask on the CPU: one with probability ``ratio``, at least once, else zero."""
    coins = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (coins <= coins.min().clamp(min=ratio)).float()


def _mask_of(file: MeasurementFile, shape: ImageShape) -> Tensor:
    """Return the mask of observed values, zeros and ones, (1, H, W) or (C, H, W)."""
    value = file.get("mask", "1 where a value of y was observed, 0 where it was lost")
    mask = torch.empty(0)
    if isinstance(value, Tensor) and not value.is_complex():
        mask = value.float()
    mask = mask[None] if mask.ndim == 2 else mask
    if tuple(mask.shape) not in ((1, *shape[1:]), shape):
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise file.error("mask", f"must have shape {shape[1:]} or {shape} by y, got {found}")
    if not _is_binary(mask) or not bool(mask.any()):
        raise file.error("mask", "must be 1 where y was observed, 0 where lost, and not all 0")
    return mask


def _is_binary(mask: Tensor) -> bool:
    return bool(((mask == 0) | (mask == 1)).all())


def _masking(mask: Tensor, image_shape: ImageShape, *, noise_std: float) -> Inpainting:
    """Return the operator of a mask of zeros and ones, (1, H, W) or (C, H, W)."""
    physics = Inpainting(image_shape, mask=mask)
    physics.set_noise_model(GaussianNoise(noise_std))
    return physics


def _scale(mask: Tensor) -> float:
    """Return sqrt(values / values kept)."""
    return 1 / math.sqrt(mask.mean().item())
