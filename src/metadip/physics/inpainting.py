"""Inpainting: pixels lost at random places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch
from deepinv.physics import GaussianNoise, Inpainting
from torch import Tensor

from metadip.physics.noise import add_gaussian_noise, draw_noise_std, operator_seed
from metadip.physics.operators import ImageShape
from metadip.physics.tasks import check_ratio, noise_range, one_image_shape
from metadip.types import InverseProblem, UserError


@dataclass(frozen=True)
class Inpaint:
    """Fill in pixels that were lost at random, y = s m (x + e) with a mask m of zeros and ones.

    Model:
        Each pixel is kept with probability ``ratio``, at least one of all. The factor
        s = sqrt(values / values kept) gives ||A||_F^2 = C*H*W, the scale at which step sizes are
        learned for every task; without it the steps are too short by 1 / s^2. Files and pictures
        show s^-1 y, the image as it was taken with zeros where pixels are lost, and the noise level
        is that of this image.
    Args:
        ratio: share of pixels that is kept, in (0, 1].
        noise_std: level in [0, 1] intensity, or (low, high) from which each image draws uniformly.
        per_channel: lose every channel's values on their own; False loses whole pixels.
    Raises:
        UserError: ``ratio`` or ``noise_std`` is out of range, or ``per_channel`` is neither true
            nor false.
    References:
        Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925 (half of the pixels lost).
    Example:
        >>> task = Inpaint(0.5, noise_std=0.0, per_channel=False)
        >>> problem = task.measure(torch.full((1, 3, 8, 8), 0.5), seed=0)
        >>> problem.y.shape, as_taken(problem).unique().tolist()
        (torch.Size([1, 3, 8, 8]), [0.0, 0.5])
    """

    ratio: float
    _: KW_ONLY
    noise_std: float | Sequence[float]
    per_channel: bool

    def __post_init__(self) -> None:
        """Refuse bad arguments before anything is measured."""
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
        physics = masking(mask, shape, noise_std=std).to(device=x.device, dtype=x.dtype)
        with torch.no_grad():
            y = physics.A(add_gaussian_noise(x, std, seed=seed))
        return InverseProblem(y, physics, shape, x=x, name=name, seed=seed)


def draw_mask(shape: ImageShape, *, ratio: float, seed: int) -> Tensor:
    """Return ones with probability ``ratio``, at least one of them, else zeros; on the CPU."""
    coins = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (coins <= coins.min().clamp(min=ratio)).float()


def masking(mask: Tensor, image_shape: ImageShape, *, noise_std: float) -> Inpainting:
    """Return the operator of a mask of zeros and ones, (1, H, W) or (C, H, W), brought to scale.

    Args:
        mask: ones where a value was kept, at least one.
        image_shape: (C, H, W).
        noise_std: noise level of the image as it was taken.
    """
    scale = 1 / math.sqrt(mask.mean().item())
    physics = Inpainting(image_shape, mask=scale * mask)
    physics.set_noise_model(GaussianNoise(scale * noise_std))
    return physics


def mask_scale(physics: object) -> float:
    """Return the factor of an inpainting operator over its mask of zeros and ones, else 1."""
    return float(physics.mask.max()) if isinstance(physics, Inpainting) else 1.0


def as_taken(problem: InverseProblem) -> Tensor:
    """Return the measurement as the sensor took it: of an inpainting, without the factor."""
    return problem.y / mask_scale(problem.physics)
