"""An image that a network makes of a latent, f_theta(z): the deep image prior's own form."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from metadip.priors.inputs import BackProjection, NetworkInput
from metadip.priors.representation import Representation, draw_weights
from metadip.registry import registered
from metadip.seeding import Stream, seed_of
from metadip.types import Estimate, InverseProblem, Named, Start

MAX_CHANNELS = 4


@registered("latent_network", apart=("learned", "learned_px"))
class LatentNetwork(Representation):
    """Generate an image by a network from a latent.

    Model:
        x_hat = f_theta(z). A learned prior starts every image from its stored theta_0 and z; an
        untrained one draws both anew from the image's seed, each from a stream of its own.
    Shape:
        One input, ``z`` (B, Cz, H, W).
    Args:
        network: f_theta, with ``in_channels``, ``out_channels`` and ``description``; its children
            draw their weights in ``reset_parameters``.
        latent: makes z: ``Latent``, ``Coordinates`` or ``BackProjection``.
        learned: whether the stored weights are a learned start.
        learned_px: side of the images that it was learned on, if known.
    Raises:
        ValueError: If the latent has another number of channels than the network takes.
    Example:
        >>> import torch
        >>> from deepinv.physics import Denoising
        >>> from metadip.priors import Latent, SkipUNet
        >>> latent = Latent(4, size_px=8, n_wavelengths=0)
        >>> network = SkipUNet(4, out_channels=1, channels=[8], skip_channels=[4])
        >>> problem = InverseProblem(torch.rand(1, 1, 16, 16), Denoising(), (1, 16, 16), seed=3)
        >>> LatentNetwork(network, latent).start(problem).inputs["z"].shape
        torch.Size([1, 4, 16, 16])
    """

    def __init__(
        self,
        network: nn.Module,
        latent: NetworkInput,
        *,
        learned: bool = False,
        learned_px: int | None = None,
    ) -> None:
        super().__init__(learned=learned, learned_px=learned_px)
        if network.in_channels != latent.channels:
            raise ValueError(
                f"the network takes {network.in_channels} channels, "
                f"the latent gives {latent.channels}"
            )
        self.network = network
        self.latent: Any = latent  # also a module; one of several kinds

    @property
    def image_channels(self) -> int:
        """Channels of the images that the network makes."""
        return int(self.network.out_channels)  # type: ignore[arg-type]

    @property
    def weights(self) -> Named:
        """The weights of the network."""
        return dict(self.network.named_parameters(prefix="network"))

    def with_channels(self, channels: int) -> LatentNetwork:
        """Return the same prior for images of another number of channels, 1 to 4.

        Model:
            Of a learned network all is kept but the rows of its last layer, one per channel: one
            channel takes their mean, two take the first and the last, four take all and their mean.
            The weight tensors stay as many, in the same order, so that step sizes per tensor still
            fit. An untrained network merely gets another width. On faces the mean was as good as
            any row or luminance for grey images, the two rows farthest apart best for two channels.
        Raises:
            ValueError: If ``channels`` is outside 1 to 4 and differs from those of the prior, or
                the network's input are images.
        """
        if channels == self.image_channels:
            return self
        if isinstance(self.latent, BackProjection):
            raise ValueError(
                f"the prior takes images of {self.latent.channels} channels, asked for {channels}"
            )
        if not 1 <= channels <= MAX_CHANNELS:
            raise ValueError(f"images have 1 to {MAX_CHANNELS} channels, asked for {channels}")
        description: dict[str, Any] = dict(self.network.description)  # type: ignore[arg-type]
        del description["type"]
        with torch.device("meta"):  # draws no weights
            network = type(self.network)(**{**description, "out_channels": channels})
        weights = {
            name: _adapted(ours.detach(), new.shape)
            for (name, ours), new in zip(
                self.network.named_parameters(), network.parameters(), strict=True
            )
        }
        network.load_state_dict(weights, assign=True)
        network.requires_grad_(next(self.network.parameters()).requires_grad)
        return LatentNetwork(network, self.latent, learned=self.learned, learned_px=self.learned_px)

    def start(self, problem: InverseProblem) -> Start:
        """Return theta, and z for the image of a problem.

        Raises:
            ValueError: If the image has another number of channels than the network makes; see
                ``with_channels``.
        """
        channels, height, width = problem.image_shape
        if channels != self.image_channels:
            raise ValueError(
                f"the prior makes images of {self.image_channels} channels, asked for {channels}"
            )
        if self.learned:
            return Start(self.weights, {"z": self.latent.of(problem)})
        network = draw_weights(self.network, seed=seed_of(problem.seed, Stream.WEIGHTS))
        latent = copy.deepcopy(self.latent)
        latent.redraw(seed_of(problem.seed, Stream.LATENT), max(height, width))
        weights = dict(network.named_parameters(prefix="network"))
        return Start(weights, {"z": latent.of(problem)})

    def forward(self, size: tuple[int, int], *, z: Tensor) -> Estimate:  # type: ignore[override]
        """Generate the images of latents ``z``, which have their size."""
        return Estimate(self.network(z))


def _adapted(weight: Tensor, shape: torch.Size) -> Tensor:
    """Return a weight, its rows brought to another number; see ``with_channels``."""
    if weight.shape == shape:
        return weight.clone()
    mean, channels = weight.mean(dim=0, keepdim=True), shape[0]
    if channels == 1:
        return mean
    if channels < len(weight):
        return weight[torch.linspace(0, len(weight) - 1, channels).round().long()]
    return torch.cat([weight, *[mean] * (channels - len(weight))])
