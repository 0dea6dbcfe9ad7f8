"""A prior that is given the image as a plain denoiser, for plug-and-play methods."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from deepinv.models.base import Denoiser
from deepinv.physics import Denoising
from torch import Tensor

from metadip.checkpoint import load_prior
from metadip.fitting import fit
from metadip.prior_files import DEFAULT
from metadip.seeding import Stream, generator_of
from metadip.types import InverseProblem, UserError


def denoiser(
    ckpt: str | Path = DEFAULT, *, add_noise: bool = False, seed: int = 0
) -> LearnedDenoiser:
    """Return a learned prior as a ``deepinv.models.Denoiser``; see ``LearnedDenoiser``.

    Example:
        >>> import deepinv, metadip
        >>> prior = deepinv.optim.PnP(denoiser=metadip.denoiser("photo"))
    """
    return LearnedDenoiser(ckpt, add_noise=add_noise, seed=seed)


class LearnedDenoiser(Denoiser):
    """Denoise with the first pass of a learned prior that sees the image, such as ``photo``.

    It is blind: what it removes depends on the image, not on the noise level that it is told. An
    iteration with it hardly touches what does not look like noise, such as lost pixels.
    ``add_noise`` adds noise of that level first, which hides such errors: they go with the noise,
    the more the higher the level (stochastic denoising regularisation). In a reconstruction every
    second call sees the image mirrored, so that its errors do not add up.

    It is a denoiser of deepinv, for its plug-and-play methods, and takes images of any size and,
    with ``photo``, any number of channels.

    Args:
        ckpt: name of a released prior, a ``.safetensors`` file, or a checkpoint of training.
        add_noise: add noise of the level told before denoising; for iterations, not for an image
            that is noisy already.
        seed: of that noise. Each reconstruction, or call outside of one, draws the same.
    Raises:
        UserError: If the prior does not see the image, or cannot be loaded; when called, if it does
            not take images of so many channels.
    References:
        Renaud et al. (2024), Plug-and-play image restoration with stochastic denoising
        regularization, arXiv:2402.01779. Kadkhodaie and Simoncelli (2020), arXiv:2007.13640. Terris
        et al. (2024), Equivariant plug-and-play image reconstruction, arXiv:2312.01831.
    """

    def __init__(self, ckpt: str | Path, *, add_noise: bool = False, seed: int = 0) -> None:
        super().__init__()
        self.add_noise, self.seed = add_noise, seed
        self._generator: torch.Generator | None = None
        self._calls = 0  # of one reconstruction
        self.learned = load_prior(ckpt)
        self.prior = self.learned.prior
        if not self.prior.any_size:
            raise UserError(
                f"denoiser.ckpt={ckpt} writes images from a latent: it denoises by a fit"
            )

    def of_one_reconstruction(self) -> LearnedDenoiser:
        """Return a denoiser whose calls draw their noise one after another, see the class."""
        going_on = copy.copy(self)
        going_on._generator, going_on._calls = generator_of(self.seed, Stream.STEPS), 0
        return going_on

    def forward(self, x: Tensor, sigma: float | Tensor | None = None, **kwargs: Any) -> Tensor:
        """Return the images (B, C, H, W) with less noise; ``sigma`` is used by ``add_noise``."""
        if self.add_noise:
            x = self._noisier(x, 0.0 if sigma is None else sigma)
        mirrored = self._generator is not None and self._calls % 2 == 1
        self._calls += 1
        x_hat = self._denoised(x.flip(-1) if mirrored else x)
        return x_hat.flip(-1) if mirrored else x_hat

    def _denoised(self, x: Tensor) -> Tensor:
        """Return what the prior makes of noisy images."""
        shape = x.shape[1], x.shape[2], x.shape[3]
        try:
            prior = self.prior.with_channels(shape[0])
        except ValueError as error:
            raise UserError(
                f"{error}; denoiser.ckpt=photo takes any number (method.denoiser.ckpt=photo with "
                "method=refined)"
            ) from error
        problems = [InverseProblem(image[None], Denoising(), shape) for image in x.float()]
        learned = self.learned
        results = fit(problems, prior, learned.objective, learned.optimizer, steps=0)
        return torch.cat([result.x_hat for result in results]).to(x.dtype)

    def _noisier(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        generator = self._generator or generator_of(self.seed, Stream.STEPS)
        noise = torch.randn(x.shape, generator=generator).to(x)
        return x + noise * level.reshape(-1, 1, 1, 1)
