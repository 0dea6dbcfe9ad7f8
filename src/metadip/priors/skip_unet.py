"""The encoder-decoder with skip connections of the deep image prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metadip.registry import registered

Downsampling = Literal["stride", "average"]
Output = Literal["sigmoid", "linear"]
Padding = Literal["reflect", "zeros"]
Upsampling = Literal["bilinear", "nearest"]
LEAKY_SLOPE = 0.2  # of every LeakyReLU in the authors' code
FEWEST_CELLS = 2  # of the coarsest scale, that reflection needs for kernels of 3 px


def _norm(channels: int) -> nn.BatchNorm2d:
    """Normalise with the image's own statistics; running ones would leak between fits."""
    return nn.BatchNorm2d(channels, track_running_stats=False)


def _conv(c_in: int, c_out: int, kernel: int, padding: Padding, stride: int = 1) -> list[nn.Module]:
    """Return convolution, normalisation and activation."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, padding_mode=padding)
    return [conv, _norm(c_out), nn.LeakyReLU(LEAKY_SLOPE)]


class Wiring(NamedTuple):
    """How the parts of a scale are made; see ``SkipUNet`` and ``VariedSkipUNet``."""

    upsampling: Upsampling
    padding: Padding = "reflect"
    down_kernel_px: int = 3
    downsampling: Downsampling = "stride"
    pointwise: bool = True


class SkipScale(nn.Module):
    """One scale: halve the resolution, run the next scale, upsample, join with the skip branch."""

    def __init__(
        self, c_in: int, channels: Sequence[int], skips: Sequence[int], *, wiring: Wiring
    ) -> None:
        super().__init__()
        width, skip, padding = channels[0], skips[0], wiring.padding
        kernel, averages = wiring.down_kernel_px, wiring.downsampling == "average"
        self.skip = nn.Sequential(*_conv(c_in, skip, 1, padding)) if skip else None
        halve = _conv(c_in, width, kernel, padding, stride=1 if averages else 2)
        if averages:
            halve.insert(1, nn.AvgPool2d(2))
        self.encode = nn.Sequential(*halve, *_conv(width, width, kernel, padding))
        self.below: SkipScale | None = None
        c_below = width
        if len(channels) > 1:
            self.below = SkipScale(width, channels[1:], skips[1:], wiring=wiring)
            c_below = channels[1]
        self.upsampling = wiring.upsampling
        self.join = _norm(skip + c_below)
        pointwise = _conv(width, width, 1, padding) if wiring.pointwise else []
        self.decode = nn.Sequential(*_conv(skip + c_below, width, 3, padding), *pointwise)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, H, W) for (B, c_in, H, W)."""
        deep = self.encode(x)
        if self.below is not None:
            deep = self.below(deep)
        align = False if self.upsampling == "bilinear" else None
        deep = F.interpolate(deep, scale_factor=2.0, mode=self.upsampling, align_corners=align)
        joined = deep if self.skip is None else torch.cat([self.skip(x), deep], dim=1)
        out: Tensor = self.decode(self.join(joined))
        return out


@registered("skip_unet")
class SkipUNet(nn.Module):
    """Map a latent to an image with the skip network of the deep image prior.

    Model:
        At every scale: a 1x1 skip branch beside a stride-2 branch of two 3x3 convolutions, which
        holds the next scale and is upsampled; both are joined, normalised, and pass a 3x3 and a 1x1
        convolution. Every convolution has a bias and is followed by BatchNorm on the image at hand
        and LeakyReLU(0.2); last come a 1x1 convolution and a sigmoid. Nothing depends on
        ``eval()``. With ``residual``, the input is an image, to which the last convolution adds its
        output, and there is no sigmoid: BatchNorm on one image would lose its brightness.
    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W) for any H and W: the input is padded at
        its border to a multiple of 2^scales, at least twice that, and the output is cropped.
        BatchNorm mixes a batch, so independent images are given one at a time or under
        ``torch.func.vmap``.
    Args:
        in_channels: channels of the latent.
        out_channels: channels of the image, 3 for colour.
        channels: width of each scale, finest first.
        skip_channels: width of each skip branch, 0 for none; same length as ``channels``.
        upsampling: "bilinear" (corners not aligned) or "nearest".
        padding: "reflect" or "zeros".
        residual: whether the network corrects its input, an image with as many channels.
        output: "sigmoid", or "linear" for images with negative values, as the parts of complex
            ones; of no effect with ``residual``.
    Raises:
        ValueError: If there is no scale, a width is below 1, the numbers of skips and scales
            differ, ``upsampling``, ``padding`` or ``output`` is unknown, or ``residual`` is set and
            the numbers of input and output channels differ.
    References:
        Ulyanov, Vedaldi, Lempitsky (2018), Deep Image Prior, arXiv:1711.10925; wiring as in the
        authors' code. 2,217,831 weights at in 32, out 3, five scales of 128, skips of 4, as there.
    Example:
        >>> net = SkipUNet(4, out_channels=3, channels=[8, 8], skip_channels=[4, 0])
        >>> net(torch.zeros(1, 4, 13, 9)).shape
        torch.Size([1, 3, 13, 9])
    """

    description: dict[str, Any]

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        channels: Sequence[int],
        skip_channels: Sequence[int],
        upsampling: Upsampling = "bilinear",
        padding: Padding = "reflect",
        residual: bool = False,
        output: Output = "sigmoid",
    ) -> None:
        super().__init__()
        if residual and in_channels != out_channels:
            raise ValueError(
                f"residual adds an image to an image, got {in_channels} and {out_channels} channels"
            )
        check_widths(in_channels, out_channels, channels, skip_channels)
        check_choice("upsampling", upsampling, get_args(Upsampling))
        check_choice("padding", padding, get_args(Padding))
        check_choice("output", output, get_args(Output))
        self.in_channels, self.out_channels = in_channels, out_channels
        self.scales = SkipScale(
            in_channels, channels, skip_channels, wiring=Wiring(upsampling, padding)
        )
        self.head = nn.Conv2d(channels[0], out_channels, 1)
        self.residual, self.output, self._multiple = residual, output, 2 ** len(channels)

    def forward(self, z: Tensor) -> Tensor:
        """Return the image of latent ``z``."""
        height, width = z.shape[-2:]
        z = extended(z, self._multiple, fewest=FEWEST_CELLS)
        out: Tensor = self.head(self.scales(z))
        if self.residual:
            out = z + out
        elif self.output == "sigmoid":
            out = out.sigmoid()
        return out[..., :height, :width]


def check_widths(
    in_channels: int, out_channels: int, channels: Sequence[int], skip_channels: Sequence[int]
) -> None:
    """Raise ``ValueError`` unless the widths of a skip network fit one another."""
    if not channels or min(channels) < 1 or min(in_channels, out_channels) < 1:
        raise ValueError(
            f"channels must be at least 1, got {in_channels}, {list(channels)}, {out_channels}"
        )
    if len(skip_channels) != len(channels) or min(skip_channels) < 0:
        raise ValueError(
            f"skip_channels {list(skip_channels)} does not fit channels {list(channels)}"
        )


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Raise ``ValueError`` unless a value is known."""
    if value not in known:
        raise ValueError(f"{name} must be one of {known}, got {value!r}")


def extended(z: Tensor, multiple: int, *, fewest: int) -> Tensor:
    """Repeat the border of z to sides that are multiples, of at least ``fewest`` cells each."""
    pad_h, pad_w = (max(-(-n // multiple), fewest) * multiple - n for n in z.shape[-2:])
    return F.pad(z, (0, pad_w, 0, pad_h), mode="replicate") if pad_h or pad_w else z
