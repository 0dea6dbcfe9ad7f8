"""A prior: a network, its latent, and where a fit starts."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from metadip.priors.inputs import BackProjection, NetworkInput
from metadip.types import InverseProblem

MAX_CHANNELS = 4


class Prior(nn.Module):
    """Say from which weights and which latent the fit of an image starts.

    Model:
        x_hat = f_theta(z). A meta-learned prior starts every image from its stored theta_0 and z;
        an untrained one draws both anew from the image's seed.
    Args:
        network: f_theta, with ``in_channels``, ``out_channels`` and ``description``; its children
            draw their weights in ``reset_parameters``.
        latent: makes z: ``Latent``, ``Coordinates`` or ``BackProjection``.
        learned: whether the stored weights are a meta-learned start.
    Raises:
        ValueError: the latent has another number of channels than the network takes.
    Example:
        >>> import torch
        >>> from deepinv.physics import Denoising
        >>> from metadip.priors import Latent, SkipUNet
        >>> latent = Latent(4, size_px=8, n_wavelengths=0)
        >>> network = SkipUNet(4, out_channels=1, channels=[8], skip_channels=[4])
        >>> problem = InverseProblem(torch.rand(1, 1, 16, 16), Denoising(), (1, 16, 16), seed=3)
        >>> weights, z = Prior(network, latent).start(problem)
        >>> z.shape
        torch.Size([1, 4, 16, 16])
    """

    def __init__(self, network: nn.Module, latent: NetworkInput, *, learned: bool = False) -> None:
        super().__init__()
        if network.in_channels != latent.channels:
            raise ValueError(
                f"the network takes {network.in_channels} channels, "
                f"the latent gives {latent.channels}"
            )
        self.network, self.learned = network, learned
        self.learned_px: int | None = None  # side of the images that it was learned on, if known
        self.latent: Any = latent  # also a module; one of several kinds

    @property
    def image_channels(self) -> int:
        """Channels of the images that the network makes."""
        return int(self.network.out_channels)  # type: ignore[arg-type]

    def with_channels(self, channels: int) -> Prior:
        """Return the same prior for images of another number of channels, 1 to 4.

        Model:
            Of a learned network all is kept but the rows of its last layer, one per channel: one
            channel takes their mean, two take the first and the last, four take all and their mean.
            The weight tensors stay as many, in the same order, so that step sizes per tensor still
            fit. An untrained network merely gets another width. On faces the mean was as good as
            any row or luminance for grey images, the two rows farthest apart best for two channels.
        Raises:
            ValueError: ``channels`` outside 1 to 4, and not those of the prior already; or a
                network whose input are images.
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
        return Prior(network, self.latent, learned=self.learned)

    def start(self, problem: InverseProblem) -> tuple[dict[str, Tensor], Tensor]:
        """Return theta by name and z (1, Cz, H, W) for the image of a problem.

        Raises:
            ValueError: the image has another number of channels than the network makes; see
                ``with_channels``.
        """
        channels, height, width = problem.image_shape
        if channels != self.image_channels:
            raise ValueError(
                f"the prior makes images of {self.image_channels} channels, asked for {channels}"
            )
        if self.learned:
            weights = {name: p.detach().clone() for name, p in self.network.named_parameters()}
            return weights, self.latent.of(problem).detach()
        network = draw_weights(self.network, seed=problem.seed)
        latent = copy.deepcopy(self.latent)
        latent.redraw(problem.seed, max(height, width))
        return {name: p.detach() for name, p in network.named_parameters()}, latent.of(problem)


def _adapted(weight: Tensor, shape: torch.Size) -> Tensor:
    """Return a weight, its rows brought to another number; see ``Prior.with_channels``."""
    if weight.shape == shape:
        return weight.clone()
    mean, channels = weight.mean(dim=0, keepdim=True), shape[0]
    if channels == 1:
        return mean
    if channels < len(weight):
        return weight[torch.linspace(0, len(weight) - 1, channels).round().long()]
    return torch.cat([weight, *[mean] * (channels - len(weight))])


def draw_weights(network: nn.Module, *, seed: int) -> nn.Module:
    """Return a copy of ``network`` with weights drawn anew by its modules' own rules from ``seed``.

    The draw happens on the CPU, so that a seed means the same weights on every device; the global
    random state is left as it was.
    """
    device = next(network.parameters()).device
    fresh = copy.deepcopy(network).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]
    return fresh.to(device)
