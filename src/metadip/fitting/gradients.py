"""A regulariser of blind deblurring: the l1 norm of an image's gradient over its l2 norm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metadip.registry import registered
from metadip.types import Look

EPS = 1e-8  # added to the l2 norm


@registered("gradient_sparsity")
@dataclass(frozen=True)
class GradientSparsity:
    """How spread out the gradient of an image is: weight ||grad x||_1 / ||grad x||_2.

    Blurred images have many small differences where sharp ones have few large ones, and the ratio
    does not fall when an image fades, as total variation does.

    Args:
        weight: at least 0.
    Raises:
        ValueError: If ``weight`` is negative.
    References:
        Krishnan et al. (2011), Blind Deconvolution Using a Normalized Sparsity Measure. Zhuang et
        al. (2022), arXiv:2208.09483 (1e-4 for weak noise, 2e-4 for strong, beside a
        data term of unknown scale).
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
    """Return ||grad x||_1 / ||grad x||_2 of each image, by differences of neighbours.

    Shape:
        (B, C, H, W) -> (B,).
    """
    differences = torch.cat([x.diff(dim=-2).flatten(1), x.diff(dim=-1).flatten(1)], dim=1)
    energy = differences.square().sum(dim=1)
    return differences.abs().sum(dim=1) / ((energy + EPS**2).sqrt() + EPS)
