"""Parts of the Deep Random Projector: a network that normalises its input, a Gaussian latent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metadip.priors.skip_unet import Padding, SkipUNet, Upsampling
from metadip.registry import registered
from metadip.seeding import generator_of
from metadip.types import InverseProblem


@registered("random_projector")
class RandomProjector(nn.Module):
    """Normalise the latent, then map it to an image with a skip network.

    Model:
        x = G(BN(z)). BatchNorm uses the image's own statistics, so the scale of z does not matter.
        The optimiser decides what is updated: in the paper, z and the affine parameters of every
        BatchNorm, while convolutions stay as drawn.
    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W), see ``SkipUNet``.
    Args:
        in_channels: channels of the latent.
        out_channels: channels of the image, 3 for colour.
        channels: width of each scale, finest first.
        skip_channels: width of each skip branch, 0 for none.
        upsampling: "bilinear" or "nearest".
        padding: "reflect" or "zeros".
    Raises:
        ValueError: See ``SkipUNet``.
    References:
        Li et al. (2023), Deep Random Projector: Accelerated Deep Image Prior, CVPR. 82,979 weights
        and 6 of the normalisation of z at in 3, out 3, one scale of 64, skip of 4, as there.
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
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.generator = SkipUNet(
            in_channels, out_channels=out_channels, channels=channels,
            skip_channels=skip_channels, upsampling=upsampling, padding=padding,
        )  # fmt: skip
        self.norm = nn.BatchNorm2d(in_channels, track_running_stats=False)

    def forward(self, z: Tensor) -> Tensor:
        """Return the image of latent ``z``, values in (0, 1)."""
        x: Tensor = self.generator(self.norm(z))
        return x


@registered("gaussian_latent")
class GaussianLatent:
    """Make z of Gaussian noise of the size of the image.

    Model:
        z ~ N(0, noise_std^2).
    Shape:
        ``of`` -> (1, channels, H, W).
    Args:
        channels: of z, at least 1.
        noise_std: above 0; 0.1 in the Deep Random Projector.
        seed: fixes z until it is redrawn.
    Raises:
        ValueError: If ``channels`` is below 1 or ``noise_std`` not above 0.
    """

    description: dict[str, Any]

    def __init__(self, channels: int, *, noise_std: float, seed: int = 0) -> None:
        if channels < 1 or not noise_std > 0:
            raise ValueError(
                f"need channels >= 1 and noise_std > 0, got {channels} and {noise_std}"
            )
        self.channels, self.noise_std, self.seed = channels, noise_std, seed

    def redraw(self, seed: int, size_px: int | None = None) -> None:
        """Set another seed."""
        self.seed = seed

    def of(self, problem: InverseProblem) -> Tensor:
        """See ``NetworkInput.of``."""
        shape = (1, self.channels, *problem.image_shape[1:])
        noise = torch.randn(shape, generator=generator_of(self.seed))
        double = problem.y.dtype in (torch.float64, torch.complex128)
        kind = torch.float64 if double else torch.float32
        return self.noise_std * noise.to(problem.y.device, kind)
