"""A prior: a network, its latent, and where a fit starts."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from metadip.priors.latent import Latent


class Prior(nn.Module):
    """Say from which weights and which latent the fit of an image starts.

    Model:
        x_hat = f_theta(z). A meta-learned prior starts every image from its stored theta_0 and z;
        an untrained one draws both anew from the image's seed.
    Args:
        network: f_theta, with ``in_channels``, ``out_channels`` and ``description``; its children
            draw their weights in ``reset_parameters``.
        latent: makes z.
        learned: whether the stored weights are a meta-learned start.
    Raises:
        ValueError: the latent has another number of channels than the network takes.
    Example:
        >>> from metadip.priors import SkipUNet
        >>> latent = Latent(4, size_px=8, n_wavelengths=0)
        >>> network = SkipUNet(4, out_channels=1, channels=[8], skip_channels=[4])
        >>> weights, z = Prior(network, latent).start((1, 16, 16), seed=3)
        >>> z.shape
        torch.Size([1, 4, 16, 16])
    """

    def __init__(self, network: nn.Module, latent: Latent, *, learned: bool = False) -> None:
        super().__init__()
        if network.in_channels != latent.channels:
            raise ValueError(
                f"the network takes {network.in_channels} channels, "
                f"the latent gives {latent.channels}"
            )
        self.network, self.latent, self.learned = network, latent, learned

    @property
    def image_channels(self) -> int:
        """Channels of the images that the network makes."""
        return int(self.network.out_channels)  # type: ignore[arg-type]

    def start(
        self, image_shape: tuple[int, int, int], *, seed: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return theta by name and z (1, Cz, H, W) for one image.

        Raises:
            ValueError: ``image_shape`` has another number of channels than the network makes.
        """
        channels, height, width = image_shape
        if channels != self.image_channels:
            raise ValueError(
                f"the prior makes images of {self.image_channels} channels, asked for {channels}"
            )
        if self.learned:
            weights = {name: p.detach().clone() for name, p in self.network.named_parameters()}
            return weights, self.latent(height, width).detach()
        network, latent = draw_weights(self.network, seed=seed), copy.deepcopy(self.latent)
        latent.redraw(seed, max(height, width))
        return {name: p.detach() for name, p in network.named_parameters()}, latent(height, width)


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
