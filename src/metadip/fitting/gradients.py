"""A regulariser of blind deblurring: the l1 norm of an image's gradient over its l2 norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metadip.registry import registered
from metadip.types import Look

EPS = 1e-8  # added to the root of the mean square


@registered("gradient_sparsity")
@dataclass(frozen=True)
class GradientSparsity:
    """How spread out the gradient of an image is: weight mean|grad x| / rms(grad x).

    Model:
        ||grad x||_1 / ||grad x||_2 over its value for differences that are all equal, the square
        root of their number: 1 where no edge stands out, and little where few do. So a weight
        serves images of all sizes, as the mean squared error beside it does. Blurred images have
        many small differences where sharp ones have few large ones, and the ratio does not fall
        when an image fades, as total variation does.
    Args:
        weight: at least 0.
    Raises:
        ValueError: If ``weight`` is negative.
    References:
        Krishnan et al. (2011), Blind Deconvolution Using a Normalized Sparsity Measure. Zhuang et
        al. (2022), arXiv:2208.09483 (1e-4 for weak noise, 2e-4 for strong, of a ratio whose
        scale is not stated).
    """

    weight: float

    def __post_init__(self) -> None:
        """Check the range."""
        if not self.weight >= 0:
            raise ValueError(f"weight must be at least 0, got {self.weight}")

    def __call__(self, look: Look) -> Tensor:
        """Return the weighted ratio of each image."""
        return self.weight * gradient_sparsity(look.estimate.x)


def gradient_sparsity(x: Tensor) -> Tensor:
    """Return mean|grad x| / rms(grad x) of each image, from 0 to 1, by differences of neighbours.

    Shape:
        (B, C, H, W) -> (B,).
    """
    differences = torch.cat([x.diff(dim=-2).flatten(1), x.diff(dim=-1).flatten(1)], dim=1)
    power = differences.square().mean(dim=1)
    return differences.abs().mean(dim=1) / ((power + EPS**2).sqrt() + EPS)
