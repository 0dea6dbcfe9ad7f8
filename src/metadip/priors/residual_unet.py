"""A residual U-Net without biases or normalisation, which corrects the image it is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metadip.registry import registered


class _Conv(nn.Conv2d):
    """A 3x3 convolution without bias that keeps the size of the image."""

    def __init__(self, c_in: int, c_out: int, *, gain: float) -> None:
        self.gain = gain  # before the layer draws its weights
        super().__init__(c_in, c_out, 3, padding=1, bias=False)

    def reset_parameters(self) -> None:
        """Draw N(0, gain^2 / fan_in)."""
        nn.init.normal_(self.weight, std=self.gain / math.sqrt(9 * self.in_channels))


class _Down(nn.Conv2d):
    """Halve the resolution: a 2x2 convolution of stride 2."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 2, stride=2, bias=False)

    def reset_parameters(self) -> None:
        """Draw N(0, 1 / fan_in)."""
        nn.init.normal_(self.weight, std=1 / math.sqrt(4 * self.in_channels))


class _Up(nn.ConvTranspose2d):
    """Double the resolution: a 2x2 transposed convolution of stride 2."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 2, stride=2, bias=False)

    def reset_parameters(self) -> None:
        """Draw N(0, 1 / in_channels): each output pixel sees one input pixel."""
        nn.init.normal_(self.weight, std=1 / math.sqrt(self.in_channels))


class _Block(nn.Module):
    """Add two 3x3 convolutions with a ReLU between them to the input; nothing is added at first.

    Args:
        channels: of input and output.
        more: further such blocks, one after the other.
    """

    def __init__(self, channels: int, more: int = 0) -> None:
        super().__init__()
        self.first = _Conv(channels, channels, gain=math.sqrt(2))  # for ReLU
        self.second = _Conv(channels, channels, gain=0.0)
        self.more = nn.Sequential(*(_Block(channels) for _ in range(more)))

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.more(h + self.second(torch.relu(self.first(h))))
        return out


@registered("residual_unet")
class ResidualUNet(nn.Module):
    """Correct an image with a residual U-Net that has no bias and no normalisation.

    Model:
        f(y) = y + tail(u(head(y))). At every scale ``blocks`` residual blocks h +
        conv(relu(conv(h))) on the way down and as many on the way up; the coarsest scale has them
        once. Between scales a 2x2
        convolution of stride 2 downwards and its transpose upwards, to whose output what left the
        scale downwards is added. Head and tail are 3x3 convolutions. Without bias, f(a y) =
        a f(y) for every a >= 0, so a denoiser treats brightness, contrast and noise alike at any
        scale of intensity; without normalisation, images of a batch do not mix, and what is
        learned on small patches holds for large images.
    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W) for any H and W: the input is extended by
        its border to a multiple of 2^(scales - 1), and the output is cropped.
    Args:
        in_channels: channels of the input, whose first ``out_channels`` are the image.
        out_channels: channels of the image, 3 for colour.
        channels: width of each scale, finest first.
        blocks: residual blocks per scale and way, at least 1.
    Raises:
        ValueError: no scale, widths or ``blocks`` below 1, or fewer channels in than out.
    References:
        Mohan et al. (2020), Robust and Interpretable Blind Image Denoising via Bias-free CNNs,
        arXiv:1906.05478. Zhang et al. (2021), DRUNet, arXiv:2008.13751 (wiring; it has four
        blocks).
    Example:
        >>> net = ResidualUNet(3, out_channels=3, channels=[8, 16])
        >>> net(torch.zeros(1, 3, 13, 9)).shape
        torch.Size([1, 3, 13, 9])
    """

    description: dict[str, Any]

    def __init__(
        self, in_channels: int, *, out_channels: int, channels: Sequence[int], blocks: int = 1
    ) -> None:
        super().__init__()
        _check(in_channels, out_channels, channels)
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {blocks}")
        more, self.blocks = blocks - 1, blocks
        self.in_channels, self.out_channels = in_channels, out_channels
        pairs = list(pairwise(channels))
        self.head = _Conv(in_channels, channels[0], gain=1.0)
        self.encode = nn.ModuleList(_Block(width, more) for width in channels)
        self.down = nn.ModuleList(_Down(fine, coarse) for fine, coarse in pairs)
        self.up = nn.ModuleList(_Up(coarse, fine) for fine, coarse in pairs)
        self.decode = nn.ModuleList(_Block(width, more) for width in channels[:-1])
        self.tail = _Conv(channels[0], out_channels, gain=0.0)
        self.multiple_px = 2 ** (len(channels) - 1)

    @property
    def reach_px(self) -> int:
        """How far from a pixel of the output the input matters: 54 px with four scales.

        Two convolutions a block at every scale on the way down and up, those at the coarsest, head
        and tail.
        """
        reach, finer, own = 1, len(self.down), 2 * self.blocks
        for _ in range(finer):  # from the output to the coarsest scale, in pixels of the scale
            reach = -(-(reach + own) // 2)
        reach += own
        for _ in range(finer):
            reach = 2 * reach + 1 + own
        return reach + 1

    def forward(self, y: Tensor) -> Tensor:
        """Return the corrected image of ``y``."""
        height, width = y.shape[-2:]
        pad_h, pad_w = -height % self.multiple_px, -width % self.multiple_px
        if pad_h or pad_w:
            y = F.pad(y, (0, pad_w, 0, pad_h), mode="replicate")
        image: Tensor = y[:, : self.out_channels] + self.tail(self._features(y))
        return image[..., :height, :width]

    def _features(self, y: Tensor) -> Tensor:
        """Return u, at the finest scale."""
        h: Tensor = self.head(y)
        skips = []
        for encode, down in zip(self.encode, self.down, strict=False):  # all but the coarsest
            skips.append(encode(h))
            h = down(skips[-1])
        h = self.encode[-1](h)
        for k in reversed(range(len(skips))):
            h = self.decode[k](skips[k] + self.up[k](h))
        return h


def _check(in_channels: int, out_channels: int, channels: Sequence[int]) -> None:
    if not channels or min(channels) < 1 or out_channels < 1:
        raise ValueError(
            f"channels must be at least 1, got {in_channels}, {list(channels)}, {out_channels}"
        )
    if in_channels < out_channels:
        raise ValueError(
            f"in_channels must be at least out_channels, the image that is corrected, got "
            f"{in_channels} and {out_channels}"
        )
