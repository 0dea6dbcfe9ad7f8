"""ConvDecoder: an image from a coarse latent, by convolutions and small enlargements."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metadip.priors.latent import Latent
from metadip.priors.representation import Representation, draw_weights
from metadip.registry import registered
from metadip.seeding import Stream, seed_of
from metadip.types import Estimate, InverseProblem, Named, Start

FEWEST_CELLS = 2  # from a single cell, enlarging makes a constant image
NOISE_SCALE = 0.1  # the latent is U(0, 0.1), as the deep decoder's


@registered("conv_decoder", apart=("learned", "learned_px"))
class ConvDecoder(Representation):
    """Generate an image of any sign from a coarse latent, made for MRI.

    Model:
        ``layers`` - 1 times: enlargement to the nearest neighbour, so that the sizes grow by one
        factor from the latent to the image, 3x3 convolution, ReLU, BatchNorm on the image at hand;
        then the same without enlargement, and a 1x1 convolution without a sigmoid. The image is
        the result times a gain, fixed so that at the start ||x|| = ||A^T y||, or ||A x|| = ||y||
        where A has no adjoint: the authors scale the measurement instead.
    Shape:
        Inputs ``z`` (B, width, h, w) with ``cells`` along the longer side, and ``gain``
        (B, 1, 1, 1). BatchNorm mixes a batch, so independent images are given one at a time or
        under ``torch.func.vmap``.
    Args:
        out_channels: channels of the image, 2 for a complex one.
        width: channels of every layer, at least 1.
        layers: number of 3x3 convolutions, at least 2.
        cells: of the latent along the longer side of the image, at least 2.
        bias: whether the convolutions have biases.
        learned: whether the stored weights are a learned start.
        learned_px: side of the images that it was learned on, if known.
    Raises:
        ValueError: If a number is out of range; in ``start``, if the number of channels of the
            image differs from that of the network.
    References:
        Darestani and Heckel (2021), Accelerated MRI with Un-trained Neural Networks,
        arXiv:2007.02471; layers as in the authors' code, 1,850,560 weights at 160 channels, 8
        layers and 15 complex coils.
    Example:
        >>> from deepinv.physics import Denoising
        >>> prior = ConvDecoder(2, width=4, layers=3, cells=4, bias=False)
        >>> problem = InverseProblem(torch.rand(1, 2, 20, 33), Denoising(), (2, 20, 33), seed=3)
        >>> inputs = prior.start(problem).inputs
        >>> inputs["z"].shape, prior((20, 33), **inputs).x.shape
        (torch.Size([1, 4, 3, 4]), torch.Size([1, 2, 20, 33]))
    """

    def __init__(
        self,
        out_channels: int,
        *,
        width: int,
        layers: int,
        cells: int,
        bias: bool,
        learned: bool = False,
        learned_px: int | None = None,
    ) -> None:
        super().__init__(learned=learned, learned_px=learned_px)
        if min(out_channels, width) < 1 or layers < 2 or cells < FEWEST_CELLS:
            raise ValueError(
                "out_channels and width must be at least 1, layers at least 2 and cells at least "
                f"{FEWEST_CELLS}, got {out_channels}, {width}, {layers} and {cells}"
            )
        self.out_channels, self.cells = out_channels, cells
        self.network = nn.ModuleList(
            [
                *(_layer(width, bias=bias) for _ in range(layers)),
                nn.Conv2d(width, out_channels, 1, bias=bias),
            ]
        )
        self.latent = Latent(width, size_px=cells, n_wavelengths=0, noise_scale=NOISE_SCALE)

    @property
    def image_channels(self) -> int:
        """Channels of the images that the network generates."""
        return self.out_channels

    @property
    def weights(self) -> Named:
        """The weights of the network."""
        return dict(self.network.named_parameters(prefix="network"))

    def with_channels(self, channels: int) -> Representation:
        """Return an untrained prior for images with another number of channels.

        Raises:
            ValueError: If the prior is learned and has another number of channels.
        """
        if self.learned or channels == self.out_channels:
            return super().with_channels(channels)
        description = {key: value for key, value in self.description.items() if key != "type"}
        other = ConvDecoder(**{**description, "out_channels": channels})
        return other.to(next(self.network.parameters()))

    def start(self, problem: InverseProblem) -> Start:
        """Return the weights, z for the image size of a problem, and the gain."""
        channels, height, width = problem.image_shape
        if channels != self.out_channels:
            raise ValueError(
                f"the prior makes images of {self.out_channels} channels, asked for {channels}"
            )
        cell_px = max(height, width) / self.cells
        cells = [max(math.ceil(side / cell_px), FEWEST_CELLS) for side in (height, width)]
        if self.learned:
            network, latent = self.network, self.latent
        else:
            network = draw_weights(self.network, seed=seed_of(problem.seed, Stream.WEIGHTS))
            latent = copy.deepcopy(self.latent)
            latent.redraw(seed_of(problem.seed, Stream.LATENT), max(cells))
        z = latent(*cells)
        with torch.no_grad():
            x = _image(network, z, (height, width))
            gain = _gain(x, problem).reshape(1, 1, 1, 1).to(z)
        return Start(dict(network.named_parameters(prefix="network")), {"z": z, "gain": gain})

    def forward(  # type: ignore[override]
        self, size: tuple[int, int], *, z: Tensor, gain: Tensor
    ) -> Estimate:
        """Generate the images of latents ``z``."""
        return Estimate(gain * _image(self.network, z, size))


def _gain(x: Tensor, problem: InverseProblem) -> Tensor:
    """Return the factor by which an image gets the energy that a measurement has."""
    physics, y = problem.physics, problem.y
    if hasattr(physics, "A_adjoint"):
        target = problem.scale**2 * physics.A_adjoint(y)
    else:
        x, target = physics.A(x), y
    gain: Tensor = target.norm() / x.norm().clamp(min=1e-12)
    return gain


def _image(network: nn.ModuleList, z: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the image (B, out_channels, *size) before the gain."""
    *layers, head = network
    grown, x = len(layers) - 1, z
    whole = [max(side, FEWEST_CELLS) for side in size]  # a single pixel cannot be normalised
    for i, layer in enumerate(layers):
        if i < grown:
            share = (i + 1) / grown
            sides = [
                math.ceil(cells * (side / cells) ** share - 1e-9)
                for cells, side in zip(z.shape[-2:], whole, strict=True)
            ]
            x = F.interpolate(x, size=sides, mode="nearest")
        x = layer(x)
    image: Tensor = head(x)[..., : size[0], : size[1]]
    return image


def _layer(width: int, *, bias: bool) -> nn.Sequential:
    """Return one layer; running statistics would leak from one fit to the next."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.BatchNorm2d(width, track_running_stats=False),
    )
