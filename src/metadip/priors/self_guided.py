"""Self-guided DIP: the input is learned with the weights, under noise of several passes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metadip.priors.inputs import BackProjection
from metadip.priors.latent_network import LatentNetwork
from metadip.priors.representation import Representation
from metadip.registry import registered
from metadip.types import Estimate, InverseProblem, Named, Start


@registered("self_guided", apart=("learned", "learned_px"))
class SelfGuided(Representation):
    """Generate an image as the mean of a network's outputs at one input with different noises.

    Model:
        x_hat = mean_m f_theta(z + passes_m), z = A^T y at the start. The passes are 0 until a hook
        perturbs them (``metadip.callbacks.PassNoise``); z is updated like a weight where the
        optimiser claims ``inputs.z``.
    Shape:
        Inputs ``z`` (B, C, H, W) and ``passes`` (B, n_passes, C, H, W).
    Args:
        network: f_theta, an image to an image.
        n_passes: M, at least 1; 4 in the handbook's code.
        learned: whether the stored weights are a learned start.
        learned_px: side of the images that it was learned on, if known.
    Raises:
        ValueError: If ``n_passes`` is below 1; in ``start``, if the operator has no adjoint or the
            channels differ.
    Cost: M passes of the network per step.
    References:
        Liang et al. (2024), Analysis of Deep Image Prior and Exploiting Self-Guidance for Image
        Reconstruction, arXiv:2402.04097.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        n_passes: int,
        learned: bool = False,
        learned_px: int | None = None,
    ) -> None:
        super().__init__(learned=learned, learned_px=learned_px)
        if n_passes < 1:
            raise ValueError(f"n_passes must be at least 1, got {n_passes}")
        channels: int = network.in_channels  # type: ignore[assignment]
        self.inner = LatentNetwork(network, BackProjection(channels), learned=learned)
        self.n_passes = n_passes

    @property
    def image_channels(self) -> int:
        """Channels of the images that the network generates."""
        return self.inner.image_channels

    @property
    def weights(self) -> Named:
        """The weights of the network."""
        return {f"inner.{name}": weight for name, weight in self.inner.weights.items()}

    def with_channels(self, channels: int) -> Representation:
        """Return an untrained prior for images with another number of channels.

        Raises:
            ValueError: If the prior is learned and has another number of channels.
        """
        if self.learned or channels == self.image_channels:
            return super().with_channels(channels)
        arguments: dict[str, Any] = dict(self.inner.network.description)  # type: ignore[arg-type]
        del arguments["type"]
        sides = {"in_channels": channels, "out_channels": channels}
        network = type(self.inner.network)(**{**arguments, **sides})
        return SelfGuided(network, n_passes=self.n_passes).to(next(self.inner.parameters()).device)

    def start(self, problem: InverseProblem) -> Start:
        """Return the weights, z = A^T y, and passes without noise."""
        self.inner.learned = self.learned
        weights, inputs = self.inner.start(problem)
        z = inputs["z"]
        passes = torch.zeros_like(z)[:, None].repeat(1, self.n_passes, 1, 1, 1)
        named = {f"inner.{name}": weight for name, weight in weights.items()}
        return Start(named, {"z": z, "passes": passes})

    def forward(  # type: ignore[override]
        self, size: tuple[int, int], *, z: Tensor, passes: Tensor
    ) -> Estimate:
        """Generate the images: one pass at a time, since BatchNorm would mix them."""
        images = [self.inner(size, z=z + passes[:, m]).x for m in range(self.n_passes)]
        return Estimate(torch.stack(images).mean(dim=0))
