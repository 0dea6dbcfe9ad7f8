"""A prior that is given the image as a plain denoiser, for plug-and-play methods."""

from __future__ import annotations

import torch
from deepinv.physics import Denoising
from torch import Tensor, nn

from metadip.checkpoint import load_prior
from metadip.fitting import fit
from metadip.types import InverseProblem, UserError


class LearnedDenoiser(nn.Module):
    """Denoise with the first pass of a learned prior that sees the image, such as ``photo``.

    It is blind: what it removes depends on the image, not on the noise level that it is told.

    Args:
        ckpt: name of a released prior, a ``.safetensors`` file, or a checkpoint of training.
    Raises:
        UserError: If the prior does not see the image, or cannot be loaded.
    """

    def __init__(self, ckpt: str) -> None:
        super().__init__()
        self.learned = load_prior(ckpt)
        self.prior = self.learned.prior
        if not self.prior.any_size:
            raise UserError(
                f"denoiser.ckpt={ckpt} writes images from a latent: it denoises by a fit"
            )

    def forward(self, y: Tensor, noise_std: float) -> Tensor:
        """See ``metadip.methods.denoisers.Denoiser``."""
        _, channels, height, width = y.shape
        problems = [
            InverseProblem(image[None], Denoising(), (channels, height, width))
            for image in y.float()
        ]
        learned = self.learned
        results = fit(problems, self.prior, learned.objective, learned.optimizer, steps=0)
        return torch.cat([result.x_hat for result in results]).to(y.dtype)
