"""No network at all: an image whose pixels are fitted, the control of the deep image prior."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metadip.registry import registered


@registered("pixel_grid")
class PixelGrid(nn.Module):
    """Return the latent as the image, so that a fit of the latent fits pixels.

    Model:
        x = s z, with the first ``out_channels`` channels of z; the scale s is 1 and stays so, since
        the optimiser updates z alone (``optimizer=pixels``). What the data do not determine stays
        as drawn: that a network does better there is what its structure is worth.
    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W).
    Args:
        in_channels: channels of the latent, at least ``out_channels``.
        out_channels: channels of the image, 3 for colour.
    Raises:
        ValueError: If there are fewer channels in the latent than in the image, or none.
    References:
        Ulyanov, Vedaldi, Lempitsky (2018), Deep Image Prior, arXiv:1711.10925: super-resolution
        without a prior.
    """

    description: dict[str, Any]

    def __init__(self, in_channels: int, *, out_channels: int) -> None:
        super().__init__()
        if not in_channels >= out_channels >= 1:
            raise ValueError(
                f"need in_channels >= out_channels >= 1, got {in_channels} and {out_channels}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.scale = nn.Parameter(torch.ones(1))

    def reset_parameters(self) -> None:
        """Set the scale to 1."""
        nn.init.ones_(self.scale)

    def forward(self, z: Tensor) -> Tensor:
        """Return the image."""
        return self.scale * z[:, : self.out_channels]
