"""The structure of a network as a denoiser, for plug-and-play methods."""

from __future__ import annotations

import torch
from deepinv.physics import Denoising, GaussianNoise
from torch import Tensor, nn

from metadip.callbacks import DiscrepancyPrinciple
from metadip.fitting import Sum, fit, mse
from metadip.fitting.rules import Optimizer
from metadip.priors import Representation
from metadip.types import InverseProblem, Start


class DIPDenoiser(nn.Module):
    """Denoise by a deep image prior: fit an untrained network until it explains all but the noise.

    Model:
        min_theta ||f_theta(z) - y||^2 by ``steps`` updates at most, ended at the first
        ||f - y||^2 / n <= noise_std^2. In an iteration of a plug-and-play method, each fit goes on
        from the weights of the last one: the proximal step of a network-structure prior.
    Shape:
        See ``Denoiser``. Images are independent of one another.
    Args:
        prior: network and latent.
        optimizer: the update rule.
        steps: weight updates per call at most, at least 1.
        seed: of weights and latent.
    Raises:
        ValueError: If ``steps`` is below 1.
    Cost: ``steps`` forward and backward passes per call and image.
    References: Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925. Anderson (2018), report
        for EE367, Stanford (as the prior of ADMM).
    """

    def __init__(
        self, prior: Representation, *, optimizer: Optimizer, steps: int, seed: int
    ) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.prior, self.optimizer, self.steps, self.seed = prior, optimizer, steps, seed
        self._ends: list[Start] | None = None

    def of_one_reconstruction(self) -> DIPDenoiser:
        """Return a denoiser whose later calls go on from the weights of its earlier ones."""
        continued = DIPDenoiser(
            self.prior, optimizer=self.optimizer, steps=self.steps, seed=self.seed
        )
        continued._ends = []
        return continued

    def forward(self, y: Tensor, noise_std: float) -> Tensor:
        """See ``Denoiser``."""
        _, channels, height, width = y.shape
        physics = Denoising(GaussianNoise(noise_std))
        problems = [
            InverseProblem(image[None], physics, (channels, height, width), seed=self.seed)
            for image in y.detach().float()
        ]
        results = fit(
            problems,
            self.prior,
            Sum(mse),
            self.optimizer,
            steps=self.steps,
            starts=self._ends or None,
            hooks=[DiscrepancyPrinciple(1.0)],
        )
        if self._ends is not None:
            self._ends = [result.end for result in results if result.end is not None]
        return torch.cat([result.x_hat for result in results]).to(y.dtype)
