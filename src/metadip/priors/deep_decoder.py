"""The deep decoder: an image from a coarse latent, by 1x1 convolutions and upsampling only."""

from __future__ import annotations

import copy
from typing import get_args

from torch import Tensor, nn

from metadip.priors.latent import Latent
from metadip.priors.representation import Representation, draw_weights
from metadip.priors.skip_unet import Output, check_choice
from metadip.registry import registered
from metadip.seeding import Stream, seed_of
from metadip.types import Estimate, InverseProblem, Named, Start

STORED_CELLS = 16  # side of the stored latent, 512 px at five doublings; repeated for larger images
FEWEST_CELLS = 2  # from a single cell, upsampling makes a constant image


@registered("deep_decoder", apart=("learned", "learned_px"))
class DeepDecoder(Representation):
    """Generate an image from a coarse latent by a network with few weights.

    Model:
        ``doublings`` + 1 layers B_i, each a 1x1 convolution of k to k channels without bias,
        bilinear upsampling by 2 (all but the last layer), ReLU, and BatchNorm on the image at hand;
        x = sigmoid(C B_d ... B_0 z) with a 1x1 convolution C. z ~ U(0, noise_scale) stays fixed.
        The number of weights is k (k + 2) (doublings + 1) + k * out_channels.
    Shape:
        One input, ``z`` (B, k, h, w) with h = ceil(H / 2^doublings), at least 2, and w likewise;
        the image is cropped to H x W. BatchNorm mixes a batch, so independent images are given one
        at a time or under ``torch.func.vmap``.
    Args:
        out_channels: channels of the image, 3 for colour.
        width: k, at least 1; 128 has 100,224 weights for colour, 64 has 25,536.
        doublings: how often the size is doubled, at least 1; 5 in the authors' code.
        noise_scale: z is U(0, noise_scale); 0.1 in the authors' code.
        seed: of the stored z, which a learned prior uses for every image.
        output: "sigmoid", or "linear" for images with negative values.
        learned: whether the stored weights are a learned start.
        learned_px: side of the images that it was learned on, if known.
    Raises:
        ValueError: If ``out_channels``, ``width`` or ``doublings`` is below 1, or ``output`` is
            unknown; in ``start``, if the
            number of channels of the image differs from that of the network.
    References:
        Heckel and Hand (2019), Deep Decoder, arXiv:1810.03982; layers as in the authors' code.
    Example:
        >>> import torch
        >>> from deepinv.physics import Denoising
        >>> prior = DeepDecoder(1, width=4, doublings=3)
        >>> problem = InverseProblem(torch.rand(1, 1, 20, 33), Denoising(), (1, 20, 33), seed=3)
        >>> z = prior.start(problem).inputs["z"]
        >>> z.shape, prior((20, 33), z=z).x.shape
        (torch.Size([1, 4, 3, 5]), torch.Size([1, 1, 20, 33]))
    """

    def __init__(
        self,
        out_channels: int,
        *,
        width: int,
        doublings: int = 5,
        noise_scale: float = 0.1,
        seed: int = 0,
        output: Output = "sigmoid",
        learned: bool = False,
        learned_px: int | None = None,
    ) -> None:
        super().__init__(learned=learned, learned_px=learned_px)
        if min(out_channels, width, doublings) < 1:
            raise ValueError(
                "out_channels, width and doublings must be at least 1, got "
                f"{out_channels}, {width} and {doublings}"
            )
        check_choice("output", output, get_args(Output))
        self.out_channels, self.doublings = out_channels, doublings
        layers = [_layer(width, doubles=i < doublings) for i in range(doublings + 1)]
        head = nn.Conv2d(width, out_channels, 1, bias=False)
        last = [nn.Sigmoid()] if output == "sigmoid" else []
        self.network = nn.Sequential(*layers, head, *last)
        self.latent = Latent(
            width, size_px=STORED_CELLS, n_wavelengths=0, noise_scale=noise_scale, seed=seed
        )

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
        other = DeepDecoder(**{**description, "out_channels": channels})
        return other.to(next(self.network.parameters()))

    def start(self, problem: InverseProblem) -> Start:
        """Return the weights, and z for the image size of a problem."""
        channels, height, width = problem.image_shape
        if channels != self.out_channels:
            raise ValueError(
                f"the prior makes images of {self.out_channels} channels, asked for {channels}"
            )
        cells = self._cells(height), self._cells(width)
        if self.learned:
            return Start(self.weights, {"z": self.latent(*cells)})
        network = draw_weights(self.network, seed=seed_of(problem.seed, Stream.WEIGHTS))
        latent = copy.deepcopy(self.latent)
        latent.redraw(seed_of(problem.seed, Stream.LATENT), max(cells))
        return Start(dict(network.named_parameters(prefix="network")), {"z": latent(*cells)})

    def forward(self, size: tuple[int, int], *, z: Tensor) -> Estimate:  # type: ignore[override]
        """Generate the images of latents ``z``, cropped to ``size``."""
        height, width = size
        return Estimate(self.network(z)[..., :height, :width])

    def _cells(self, side: int) -> int:
        """Return the number of latent cells for a side in pixels."""
        cell_px: int = 2**self.doublings
        return max(-(-side // cell_px), FEWEST_CELLS)


def _layer(width: int, *, doubles: bool) -> nn.Sequential:
    """Return one layer; running statistics would leak from one fit to the next."""
    doubling = [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)]
    return nn.Sequential(
        nn.Conv2d(width, width, 1, bias=False),
        *(doubling if doubles else []),
        nn.ReLU(),
        nn.BatchNorm2d(width, track_running_stats=False),
    )
