"""The skip network of the deep image prior as its authors vary it from task to task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from metadip.priors.skip_unet import (
    Downsampling,
    SkipScale,
    Upsampling,
    Wiring,
    check_choice,
    check_widths,
    extended,
)
from metadip.registry import registered


@registered("varied_skip_unet")
class VariedSkipUNet(nn.Module):
    """Map a latent to an image with a skip network of another encoder or decoder.

    Model:
        As ``SkipUNet`` with reflection at the border, but for what the arguments change.
    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W) for any H and W.
    Args:
        in_channels: channels of the latent.
        out_channels: channels of the image, 3 for colour.
        channels: width of each scale, finest first.
        skip_channels: width of each skip branch, 0 for none; same length as ``channels``.
        upsampling: "bilinear" (corners not aligned) or "nearest".
        down_kernel_px: side of the kernels on the way down, odd.
        downsampling: "stride" of the first convolution of a scale, or "average" of 2 x 2 pixels
            after it.
        pointwise: whether a 1x1 convolution follows the 3x3 one on the way up.
    Raises:
        ValueError: See ``SkipUNet``; if ``down_kernel_px`` is even or below 1, or ``downsampling``
            is unknown.
    References:
        Ulyanov, Vedaldi, Lempitsky (2018), Deep Image Prior, arXiv:1711.10925; the authors' code
        for inpainting a large hole (kernels of 5 px, no 1x1 convolutions) and for 98 % of pixels
        lost (averages).
    """

    description: dict[str, Any]

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        channels: Sequence[int],
        skip_channels: Sequence[int],
        upsampling: Upsampling,
        down_kernel_px: int,
        downsampling: Downsampling,
        pointwise: bool,
    ) -> None:
        super().__init__()
        check_widths(in_channels, out_channels, channels, skip_channels)
        check_choice("upsampling", upsampling, get_args(Upsampling))
        check_choice("downsampling", downsampling, get_args(Downsampling))
        if down_kernel_px < 1 or down_kernel_px % 2 == 0:
            raise ValueError(f"down_kernel_px must be odd and at least 1, got {down_kernel_px}")
        self.in_channels, self.out_channels = in_channels, out_channels
        wiring = Wiring(
            upsampling,
            down_kernel_px=down_kernel_px,
            downsampling=downsampling,
            pointwise=pointwise,
        )
        self.scales = SkipScale(in_channels, channels, skip_channels, wiring=wiring)
        self.head = nn.Conv2d(channels[0], out_channels, 1)
        self._multiple, self._fewest = 2 ** len(channels), max(2, down_kernel_px // 2 + 1)

    def forward(self, z: Tensor) -> Tensor:
        """Return the image of latent ``z``, values in (0, 1)."""
        height, width = z.shape[-2:]
        out = self.head(self.scales(extended(z, self._multiple, fewest=self._fewest)))
        return torch.sigmoid(out)[..., :height, :width]
