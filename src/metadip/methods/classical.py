"""A denoiser as a method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from deepinv.models import Reconstructor
from deepinv.physics import Denoising, GaussianNoise, Physics
from torch import Tensor

from metadip.methods.denoisers import Denoiser
from metadip.methods.iteration import watch
from metadip.physics.splitting import ImageShape, Measured, split
from metadip.types import FitResult, InverseProblem, UserError


class DenoiserReconstructor(Reconstructor):
    """Remove Gaussian noise, told its level by the operator's noise model; nothing else.

    Shape:
        ``forward(y, physics)``: y (B, C, H, W) -> (B, C, H, W).
    Args:
        denoiser: one of ``metadip.methods.denoisers``, or deepinv's.
    Raises:
        UserError: when called, for another operator than ``Denoising`` with ``GaussianNoise``; see
            also the denoiser.
    Example:
        >>> from deepinv.physics import Denoising, GaussianNoise
        >>> from metadip.methods.denoisers import TV
        >>> y = torch.rand(2, 1, 16, 20)
        >>> DenoiserReconstructor(TV(0.75))(y, Denoising(GaussianNoise(0.1))).shape
        torch.Size([2, 1, 16, 20])
    """

    rescale = False  # an operator that only adds noise has our scale

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    @property
    def image_channels(self) -> int | None:
        """Those of a denoiser whose weights are for one number of channels."""
        return getattr(self.denoiser, "channels", None)

    def check(self, problem: InverseProblem, *, task: str) -> None:
        """Refuse what is no Gaussian denoising."""
        name = name_of(self.denoiser)
        if not isinstance(problem.physics, Denoising):
            raise UserError(
                f"method={name} removes Gaussian noise; for {task} use method=pnp_admm "
                f"denoiser={name}"
            )
        if self.image_channels not in (None, problem.image_shape[0]):
            raise UserError(
                f"method={name} has weights for images of {self.image_channels} channels, not "
                f"{problem.image_shape[0]}: set denoiser.channels and denoiser.weights"
            )
        noise = problem.physics.noise_model
        if not isinstance(noise, GaussianNoise):
            raise UserError(
                f"method={name} removes Gaussian noise, and {task} has {type(noise).__name__}: "
                "use method=metadip or method=dip"
            )

    def forward(
        self,
        y: Measured,
        physics: Physics,
        *,
        image_shape: ImageShape | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the denoised images, see ``measurement.split``."""
        problems = split(y, physics, image_shape=image_shape)
        return torch.cat([result.x_hat for result in self.reconstruct(problems)])

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Denoise every image; hooks see y as step 0 and the result as step 1."""
        for problem in problems:
            self.check(problem, task=type(problem.physics).__name__)
        with torch.inference_mode(False), torch.no_grad():
            return [watch(p, self._images(p), steps=1, hooks=hooks) for p in problems]

    def _images(self, problem: InverseProblem) -> Iterator[Tensor]:
        yield problem.y
        noise_std = float(problem.physics.noise_model.sigma)
        yield self.denoiser(problem.y, noise_std) if noise_std > 0 else problem.y


def name_of(denoiser: Denoiser) -> str:
    """Return what ``conf/denoiser`` calls a denoiser."""
    return type(denoiser).__name__.lower()
