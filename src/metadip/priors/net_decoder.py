"""The decoder of Net-GD and Net-PGD: a few hundred weights on a coarse latent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from metadip.registry import registered


@registered("net_decoder")
class NetDecoder(nn.Module):
    """Map a coarse latent to an image by few 1x1 convolutions and bilinear upsampling.

    Model:
        For each pair of neighbouring widths a 1x1 convolution without bias, ReLU, BatchNorm on the
        image at hand, bilinear upsampling by 2; then a 1x1 convolution and a sigmoid.
    Shape:
        (B, in_channels, h, w) -> (B, out_channels, 2^L h, 2^L w) with L widths after the first.
    Args:
        in_channels: channels of the latent.
        out_channels: channels of the image, 3 for colour.
        channels: width of each layer, coarsest first, at least one.
    Raises:
        ValueError: If there is no layer or a width is below 1.
    References:
        Jagatap and Hegde (2019), Algorithmic Guarantees for Inverse Imaging with Untrained Network
        Priors, arXiv:1906.08763. 435 weights at in 15, out 1, channels 15, 10 (digits of 28 px);
        2,285 at in 120, out 3, channels 15, 15, 10 (faces of 64 px).
    Example:
        >>> import torch
        >>> NetDecoder(15, out_channels=1, channels=[15, 10])(torch.rand(1, 15, 7, 7)).shape
        torch.Size([1, 1, 28, 28])
    """

    description: dict[str, Any]

    def __init__(self, in_channels: int, *, out_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        widths = [in_channels, *channels]
        if not channels or min(*widths, out_channels) < 1:
            raise ValueError(
                f"widths must be at least 1, and there must be a layer, got {in_channels}, "
                f"{list(channels)} and {out_channels}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.layers = nn.Sequential(*(_layer(a, b) for a, b in zip(widths, channels, strict=False)))
        self.head = nn.Conv2d(widths[-1], out_channels, 1, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """Return the image of latent ``z``, values in (0, 1)."""
        x: Tensor = self.head(self.layers(z))
        return x.sigmoid()


def _layer(c_in: int, c_out: int) -> nn.Sequential:
    """Return one layer; running statistics would leak from one fit to the next."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 1, bias=False),
        nn.ReLU(),
        nn.BatchNorm2d(c_out, track_running_stats=False),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )
