"""Stein's unbiased risk estimate: a denoiser judged without a clean image, by its divergence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metadip.physics.noise_level import (
    estimated_noise_std,
    expected_noise_energy,
    poisson_variances,
)
from metadip.registry import registered
from metadip.types import InverseProblem, Look, UserError

ESTIMATE = "estimate"


@registered("sure")
@dataclass(frozen=True)
class SureDivergence:
    """Add to the squared error what it misses of the true one, where the input is the noisy image.

    Model:
        (2 b . sigma^2 (J^T b) - sum sigma^2) / n with b ~ N(0, I) from the image's own stream and J
        the derivative of x_hat in the input z. For Gaussian noise its mean over b is
        2 sigma^2 div / n - sigma^2; with the squared error ||x_hat - y||^2 / n it estimates
        ||x_hat - x||^2 / n without bias, where z is y or y with some noise of its own. For Poisson
        noise sigma^2 is gain y, its variance at each pixel as y estimates it (PURE, to first order
        in the gain). The sum may be negative.
    Shape:
        The input is an image (B, C, H, W), as is y.
    Args:
        noise_std: sigma, above 0, in units of y; None: what the problem's noise model tells;
            "estimate": see ``estimated_noise_std``, where it is unknown, or was clipped.
        input: name of the representation's input that is the noisy image.
    Raises:
        ValueError: If ``noise_std`` is neither above 0 nor "estimate".
        UserError: When called, if the problem is not denoising, if the representation has no such
            input or one of another shape, or if the noise model tells no level.
    Cost: a second pass of the network, and one more derivative of it.
    References:
        Jo et al. (2021), Rethinking Deep Image Prior for Denoising, arXiv:2108.12841. Luisier et
        al. (2010), Fast Interscale Wavelet Denoising of Poisson-Corrupted Images (PURE).
    """

    noise_std: float | str | None = None
    input: str = "z"

    def __post_init__(self) -> None:
        """Check the range."""
        if self.noise_std in (None, ESTIMATE):
            return
        if isinstance(self.noise_std, str) or not self.noise_std > 0:
            raise ValueError(f"noise_std must be above 0 or {ESTIMATE}, got {self.noise_std}")

    def __call__(self, look: Look) -> Tensor:
        """Return the term of each image."""
        self._check(look)
        variance = torch.cat([self._variances(problem) for problem in look.problems])
        b = look.draw(look.estimate.x)
        minimised = torch.is_grad_enabled()
        with torch.enable_grad():
            z = look.inputs[self.input].clone().requires_grad_()
            x_hat = look.again(**{self.input: z}).x
            (pulled,) = torch.autograd.grad(x_hat, z, b, create_graph=minimised)
        return (variance * (2 * b * pulled - 1)).flatten(1).mean(dim=1)

    def _check(self, look: Look) -> None:
        z, x, y_hat = look.inputs.get(self.input), look.estimate.x, look.y_hat
        if z is None or z.shape != x.shape:
            found = {name: tuple(tensor.shape) for name, tensor in look.inputs.items()}
            raise UserError(
                f"SURE needs an input {self.input!r} that is the noisy image {tuple(x.shape)}; the "
                f"prior has {found}: take prior=skip_unet_image"
            )
        if y_hat.shape != x.shape or not torch.allclose(y_hat, x, equal_nan=True):
            raise UserError("SURE serves denoising alone, where y is the noisy image: task=denoise")

    def _variances(self, problem: InverseProblem) -> Tensor:
        """Return sigma^2 of each value of y, (1, C, H, W)."""
        if self.noise_std is None:
            counted = poisson_variances(problem)
            if counted is not None:
                return counted
            return torch.full_like(problem.y, noise_variance(problem))
        if isinstance(self.noise_std, str):
            return estimated_noise_std(problem.y).square().view(1, 1, 1, 1).expand_as(problem.y)
        return torch.full_like(problem.y, self.noise_std**2)


def noise_variance(problem: InverseProblem) -> float:
    """Return sigma^2 of a noisy image, as its noise model tells.

    Raises:
        UserError: If it tells no level above 0.
    """
    energy = expected_noise_energy(problem)
    if energy is None:
        model = type(getattr(problem.physics, "noise_model", None)).__name__
        raise UserError(
            f"the {model} of {problem.name or 'the measurement'} tells no noise level above 0: "
            f"set objective.terms.sure.noise_std to it or to {ESTIMATE}, or take another method"
        )
    return energy / problem.y.numel()
