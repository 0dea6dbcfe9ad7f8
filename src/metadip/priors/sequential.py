"""A network that is given its own output: the autoencoding sequential deep image prior."""

from __future__ import annotations

from torch import nn

from metadip.priors.inputs import BackProjection
from metadip.priors.latent_network import LatentNetwork
from metadip.registry import registered
from metadip.types import Estimate, InverseProblem, Named


@registered("auto_sequential", apart=("learned", "learned_px"))
class AutoSequential(LatentNetwork):
    """Generate an image from the image that the network made before.

    Model:
        x_hat_k = f_theta_k(z_k), z_0 = A^T y. After every N-th step z becomes the x_hat of that
        step, which costs nothing; at the others it stays. With ``Autoencoding`` among the terms of
        the objective, fits hardly go on to the noise.
    Shape:
        One input, ``z`` (B, C, H, W).
    Args:
        network: f_theta, from images to images of as many channels.
        every: N, at least 1; 2 in the paper.
        learned: whether the stored weights are a learned start.
        learned_px: side of the images that it was learned on, if known.
    Raises:
        ValueError: If ``every`` is below 1, or the network gives another number of channels than it
            takes.
    References:
        Alkhouri et al. (2024), Image Reconstruction via Autoencoding Sequential Deep Image Prior,
        NeurIPS 2024.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        every: int,
        learned: bool = False,
        learned_px: int | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        latent = BackProjection(network.out_channels)  # type: ignore[arg-type]
        super().__init__(network, latent, learned=learned, learned_px=learned_px)
        self.every = every

    def refresh(
        self, inputs: Named, estimate: Estimate, problem: InverseProblem, step: int
    ) -> Named:
        """Return the output after every N-th step; see ``Representation.refresh``."""
        return {"z": estimate.x} if (step + 1) % self.every == 0 else inputs
