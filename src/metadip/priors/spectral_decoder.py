"""A decoder whose convolutions cannot amplify any frequency beyond a bound: spectral control."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metadip.priors.skip_unet import check_choice
from metadip.registry import registered

Enlarging = Literal["bilinear", "gaussian"]
SLOPE = 0.01  # of LeakyReLU, torch's own, as in the authors' code
GAUSSIAN_SIGMAS = (0.1, 0.1, 0.1, 0.5, 0.5)  # of the five enlargements [authors' code]
GAUSSIAN_SIDE = 5  # of the kernel, px [authors' code]


@registered("spectral_decoder")
class SpectralDecoder(nn.Module):
    """Map a coarse latent to an image by convolutions of bounded spectral norm.

    Model:
        Two layers, then five times: enlargement by 2 and two layers. A layer is a 3x3 convolution
        with W / max(1, sigma_max(W) / bound) in place of W, W flattened to out x 9 in, then
        x - mean(x) + b per channel, then LeakyReLU. Last a 1x1 convolution without a bound and a
        sigmoid. Dividing by a standard deviation, as BatchNorm does, would undo the bound.
    Shape:
        (B, in_channels, h, w) -> (B, out_channels, 32 h, 32 w).
    Args:
        in_channels: channels of the latent.
        out_channels: channels of the image, 3 for colour.
        width: channels of every layer, at least 1; 128 in the authors' code.
        bound: of the spectral norms, above 0: 1.4 for denoising with bilinear enlargement, 1.6 for
            inpainting, 1.8 for Gaussian enlargement in the authors' code.
        upsampling: "bilinear", or "gaussian": a transposed convolution with a fixed Gaussian, whose
            width is 0.1, 0.1, 0.1, 0.5, 0.5 of two pixels from coarse to fine.
    Raises:
        ValueError: If a number is out of range or ``upsampling`` is unknown.
    Cost: the eigenvalues of a width x width matrix per convolution at each step.
    References:
        Shi et al. (2022), On Measuring and Controlling the Spectral Bias of the Deep Image Prior,
        arXiv:2107.01125, section 4.
    Example:
        >>> network = SpectralDecoder(4, out_channels=3, width=4, bound=1.4, upsampling="bilinear")
        >>> network(torch.rand(1, 4, 2, 3)).shape
        torch.Size([1, 3, 64, 96])
    """

    description: dict[str, Any]

    def __init__(
        self,
        in_channels: int,
        *,
        out_channels: int,
        width: int,
        bound: float,
        upsampling: Enlarging,
    ) -> None:
        super().__init__()
        check_choice("upsampling", upsampling, get_args(Enlarging))
        if min(in_channels, out_channels, width) < 1 or not bound > 0:
            raise ValueError(
                "need in_channels, out_channels, width >= 1 and bound > 0, got "
                f"{in_channels}, {out_channels}, {width} and {bound}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.upsampling = upsampling
        self.first = BoundedLayer(in_channels, width, bound=bound)
        n_layers = 2 * len(GAUSSIAN_SIGMAS) + 1
        self.layers = nn.ModuleList(
            BoundedLayer(width, width, bound=bound) for _ in range(n_layers)
        )
        self.head = nn.Conv2d(width, out_channels, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Return the image of latent ``z``, values in (0, 1)."""
        x: Tensor = self.layers[0](self.first(z))
        for i, sigma in enumerate(GAUSSIAN_SIGMAS):
            if self.upsampling == "bilinear":
                x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            else:
                x = enlarged(x, sigma)
            x = self.layers[2 * i + 2](self.layers[2 * i + 1](x))
        image: Tensor = self.head(x)
        return image.sigmoid()


class BoundedLayer(nn.Module):
    """A 3x3 convolution of bounded norm, mean subtraction with an offset, LeakyReLU."""

    def __init__(self, c_in: int, c_out: int, *, bound: float) -> None:
        super().__init__()
        self.bound = bound
        self.weight = nn.Parameter(torch.empty(c_out, c_in, 3, 3))
        self.offset = nn.Parameter(torch.empty(c_out))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights uniformly, scaled by fan-in (He); offsets are 0."""
        nn.init.kaiming_uniform_(self.weight, a=SLOPE)
        nn.init.zeros_(self.offset)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c_out, H, W)."""
        x = F.conv2d(x, bounded(self.weight, self.bound), padding=1)
        x = x - x.mean(dim=(2, 3), keepdim=True) + self.offset[:, None, None]
        return F.leaky_relu(x, SLOPE)


def bounded(weight: Tensor, bound: float) -> Tensor:
    """Return a weight (out, in, h, w) whose largest singular value is at most ``bound``.

    The eigenvalues of W W^T, which are cheaper than singular values of W, and exact as well.
    """
    flat = weight.flatten(1)
    largest: Tensor = torch.linalg.eigvalsh(flat @ flat.T)[-1].clamp(min=1e-20).sqrt()
    return weight / (largest / bound).clamp(min=1)


def enlarged(x: Tensor, sigma: float) -> Tensor:
    """Return images of twice the size by a transposed convolution with a Gaussian.

    The kernel exp(-(d / 2)^2 / (2 sigma^2)) sums to 4, so that a constant keeps its mean; for small
    sigma it is a single point, and all but every fourth pixel are 0.
    """
    channels = x.shape[1]
    distance = torch.arange(GAUSSIAN_SIDE, dtype=x.dtype, device=x.device) - GAUSSIAN_SIDE // 2
    line = torch.exp(-((distance / 2) ** 2) / (2 * sigma**2))
    kernel = torch.outer(line, line) * (4 / line.sum() ** 2)
    kernel = kernel.expand(channels, 1, GAUSSIAN_SIDE, GAUSSIAN_SIDE)
    return F.conv_transpose2d(
        x, kernel, stride=2, padding=GAUSSIAN_SIDE // 2, output_padding=1, groups=channels
    )
