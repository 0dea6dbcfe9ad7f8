"""A denoiser as a method."""

from __future__ import annotations

from collections.abc import Iterator

from deepinv.physics import Denoising, GaussianNoise
from torch import Tensor

from metadip.methods.denoisers import Denoiser
from metadip.methods.iteration import Iterative
from metadip.types import InverseProblem, UserError


class DenoiserReconstructor(Iterative):
    """Remove Gaussian noise of the level given by the operator's noise model.

    Shape:
        ``forward(y, physics)``: y (B, C, H, W) -> (B, C, H, W).
    Args:
        denoiser: one of ``metadip.methods.denoisers``, or deepinv's.
    Raises:
        UserError: If called with an operator other than ``Denoising`` with ``GaussianNoise``; see
            also the denoiser.
    Example:
        >>> import torch
        >>> from deepinv.physics import Denoising, GaussianNoise
        >>> from metadip.methods.denoisers import TV
        >>> y = torch.rand(2, 1, 16, 20)
        >>> DenoiserReconstructor(TV(0.75))(y, Denoising(GaussianNoise(0.1))).shape
        torch.Size([2, 1, 16, 20])
    """

    def __init__(self, denoiser: Denoiser) -> None:
        # An operator that only adds noise already has our scale.
        super().__init__(denoiser, images=_images, steps=1, check=_check, rescale=False)


def _check(problem: InverseProblem, denoiser: Denoiser, task: str) -> None:
    """Raise ``UserError`` unless a problem is Gaussian denoising with matching channels."""
    name, channels = name_of(denoiser), getattr(denoiser, "channels", None)
    if not isinstance(problem.physics, Denoising):
        raise UserError(
            f"method={name} removes Gaussian noise; for {task} use method=pnp_admm denoiser={name}"
        )
    if channels not in (None, problem.image_shape[0]):
        raise UserError(
            f"method={name} has weights for images of {channels} channels, not "
            f"{problem.image_shape[0]}: set denoiser.channels and denoiser.weights"
        )
    noise = problem.physics.noise_model
    if not isinstance(noise, GaussianNoise):
        raise UserError(
            f"method={name} removes Gaussian noise, and {task} has {type(noise).__name__}: "
            "use method=metadip or method=dip"
        )


def _images(problem: InverseProblem, denoiser: Denoiser) -> Iterator[Tensor]:
    """Yield y and the denoised image."""
    yield problem.y
    noise_std = float(problem.physics.noise_model.sigma)
    yield denoiser(problem.y, noise_std) if noise_std > 0 else problem.y


def name_of(denoiser: Denoiser) -> str:
    """Return the name of a denoiser in ``conf/denoiser``."""
    return type(denoiser).__name__.lower()
