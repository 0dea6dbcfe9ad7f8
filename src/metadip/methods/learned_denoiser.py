"""A prior that is given the image as a plain denoiser, for plug-and-play methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from deepinv.models.base import Denoiser
from deepinv.physics import Denoising
from torch import Tensor

from metadip.checkpoint import load_prior
from metadip.fitting import fit
from metadip.prior_files import DEFAULT
from metadip.types import InverseProblem, UserError


def denoiser(ckpt: str | Path = DEFAULT) -> LearnedDenoiser:
    """Return a learned prior as a ``deepinv.models.Denoiser``; see ``LearnedDenoiser``.

    Example:
        >>> import deepinv, metadip
        >>> prior = deepinv.optim.PnP(denoiser=metadip.denoiser("photo"))
    """
    return LearnedDenoiser(ckpt)


class LearnedDenoiser(Denoiser):
    """Denoise with the first pass of a learned prior that sees the image, such as ``photo``.

    It is blind: what it removes depends on the image, not on the noise level that it is told. It
    is a denoiser of deepinv, for its plug-and-play methods, and takes images of any size: ``photo``
    of 1 to 4 channels, ``photo_denoiser`` of three.

    Args:
        ckpt: name of a released prior, a ``.safetensors`` file, or a checkpoint of training.
    Raises:
        UserError: If the prior does not see the image, or cannot be loaded; when called, if it does
            not take images of so many channels.
    """

    def __init__(self, ckpt: str | Path) -> None:
        super().__init__()
        self.learned = load_prior(ckpt)
        self.prior = self.learned.prior
        if not self.prior.any_size:
            raise UserError(
                f"denoiser.ckpt={ckpt} writes images from a latent: it denoises by a fit"
            )

    def forward(self, x: Tensor, sigma: float | Tensor | None = None, **kwargs: Any) -> Tensor:
        """Return the images (B, C, H, W) with less noise; ``sigma`` is not used."""
        shape = x.shape[1], x.shape[2], x.shape[3]
        try:
            prior = self.prior.with_channels(shape[0])
        except ValueError as error:
            raise UserError(f"{error}; denoiser.ckpt=photo takes 1 to 4") from error
        problems = [InverseProblem(image[None], Denoising(), shape) for image in x.float()]
        learned = self.learned
        results = fit(problems, prior, learned.objective, learned.optimizer, steps=0)
        return torch.cat([result.x_hat for result in results]).to(x.dtype)
