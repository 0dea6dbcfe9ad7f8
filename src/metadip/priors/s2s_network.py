"""The network of DIP-SURE, an encoder-decoder with concatenated inputs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metadip.priors.skip_unet import extended
from metadip.registry import registered

LAST = (64, 32)  # widths of the last scale [authors' code]


@registered("s2s_network")
class S2SNetwork(nn.Module):
    """Map a noisy image to an image by an encoder-decoder that sees its input at every scale.

    Model:
        Encoder: ``scales`` + 1 pairs of 3x3 convolutions of ``encoder`` channels, the first of a
        pair with stride 2 except at the first scale. Decoder, coarse to fine: nearest upsampling,
        the encoder's image of that scale beside it, two 3x3 convolutions of ``decoder`` channels;
        at the finest scale the input itself beside it, then 64 and 32 channels and a last
        convolution. BatchNorm on the image at hand and Softplus after every convolution but the
        last, which a sigmoid follows.
    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W): the input is padded at its border to a
        multiple of 2^scales, and the output cropped.
    Args:
        in_channels: channels of the noisy image.
        out_channels: channels of the image.
        encoder: channels of the encoder, at least 1; 48 in the authors' code.
        decoder: channels of the decoder, at least 1; 96 in the authors' code.
        scales: number of halvings, at least 1; 5 in the authors' code.
    Raises:
        ValueError: If an argument is below 1.
    References:
        Jo et al. (2021), Rethinking Deep Image Prior for Denoising, arXiv:2108.12841; after Quan et
        al. (2020), Self2Self, CVPR.
    Example:
        >>> network = S2SNetwork(3, out_channels=3, encoder=4, decoder=6, scales=2)
        >>> network(torch.rand(1, 3, 17, 12)).shape
        torch.Size([1, 3, 17, 12])
    """

    description: dict[str, Any]

    def __init__(
        self, in_channels: int, *, out_channels: int, encoder: int, decoder: int, scales: int
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels, encoder, decoder, scales) < 1:
            raise ValueError(
                "in_channels, out_channels, encoder, decoder and scales must be at least 1, got "
                f"{in_channels}, {out_channels}, {encoder}, {decoder} and {scales}"
            )
        self.in_channels, self.out_channels, self.scales = in_channels, out_channels, scales
        self.down = nn.ModuleList(
            nn.Sequential(
                *_conv(in_channels if i == 0 else encoder, encoder, stride=1 if i == 0 else 2),
                *_conv(encoder, encoder),
            )
            for i in range(scales + 1)
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                *_conv((encoder if i == 0 else decoder) + encoder, decoder),
                *_conv(decoder, decoder),
            )
            for i in range(scales - 1)
        )
        below = decoder if scales > 1 else encoder
        self.last = nn.Sequential(*_conv(below + in_channels, LAST[0]), *_conv(*LAST))
        self.head = nn.Conv2d(LAST[1], out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Return the image of a noisy image ``z``, values in (0, 1)."""
        height, width = z.shape[-2:]
        z = extended(z, 2**self.scales, fewest=2)
        seen, x = [], z
        for pair in self.down:
            x = pair(x)
            seen.append(x)
        for i, pair in enumerate(self.up):
            x = pair(torch.cat([_doubled(x), seen[-2 - i]], dim=1))
        image: Tensor = self.head(self.last(torch.cat([_doubled(x), z], dim=1)))
        return image.sigmoid()[..., :height, :width]


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _conv(c_in: int, c_out: int, stride: int = 1) -> list[nn.Module]:
    """Return convolution, normalisation and activation."""
    return [
        nn.Conv2d(c_in, c_out, 3, stride, padding=1),
        nn.BatchNorm2d(c_out, track_running_stats=False),
        nn.Softplus(),
    ]
