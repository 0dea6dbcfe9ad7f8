"""The expected size of the noise of a measurement, if its noise model gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from deepinv.physics import (
    MRI,
    GaussianNoise,
    Inpainting,
    LaplaceNoise,
    MultiCoilMRI,
    PoissonGaussianNoise,
    PoissonNoise,
    SaltPepperNoise,
    UniformNoise,
)
from torch import Tensor

from metadip.physics.far_field import FarField
from metadip.physics.noise import CountedAmplitudes, SpeckleNoise
from metadip.types import InverseProblem, UserError

MEDIAN_OF_NORMAL = 0.67449  # of |n|, n standard normal
# By the count, from 0 on: what (sqrt(N) - sqrt(lambda))^2 is taken to be where N was counted.
SQUARE_ERROR_OF_COUNT = (
    0.0, 1.488, -0.81, 0.869, 0.622, 0.022, -0.014, 0.26, 0.43, 0.386, 0.257, 0.193, 0.222
)  # fmt: skip


def expected_noise_energy(problem: InverseProblem) -> float | None:
    """Return E||y - A(x)||^2 from the noise model and y, None if they do not determine it.

    Model:
        M times the mean square error of one measured value, with z = A(x): sigma^2 (Gaussian),
        a^2 / 3 (uniform on [-a, a]), 2 b^2 (Laplace), gain mean(z) (Poisson), gain mean(z) +
        sigma^2 (Poisson-Gaussian), s^2 mean(z^2) (speckle), p mean(z^2) + q mean((1 - z)^2)
        (impulses, p of the values lost to 0 and q to 1). The means over the unknown z are estimated
        without bias from those over y. Of square roots of counts it is the mean of
        E(sqrt(N) - sqrt(lambda))^2 over the count c of amplitude 1, estimated within a few
        percent. M counts the values that a mask kept in inpainting, MRI and far fields, else all of
        y. None for other operators whose mask has zeros, where noise may lie or not, for other
        noise, for a level that is zero or not one number, and for Poisson counts that are not
        scaled to z. Clipping y makes all noise but impulses smaller than this.
    """
    kept = torch.ones_like(problem.y, dtype=torch.bool)
    if isinstance(problem.physics, MultiCoilMRI):
        kept &= problem.physics.mask[:, :, None] != 0
    elif isinstance(problem.physics, Inpainting | MRI | FarField):  # their zeros carry no noise
        kept &= problem.physics.mask != 0
    elif any(_hides_values(part) for part in problem.physics.modules()):
        return None
    model = getattr(problem.physics, "noise_model", None)
    error = MEAN_SQUARE_ERRORS.get(type(model))  # a subclass may mean something else
    if error is None:
        return None
    value: Tensor = error(model, problem.y[kept])
    if value.numel() != 1 or not value.item() > 0:
        return None
    return value.item() * int(kept.sum())


def poisson_variances(problem: InverseProblem) -> Tensor | None:
    """Return gain y, the variance of each value of y as y estimates it, for Poisson noise alone."""
    model: Any = getattr(problem.physics, "noise_model", None)
    if type(model) is not PoissonNoise or not model.normalize:
        return None
    variances: Tensor = model.gain * problem.y.clamp(min=0)
    return variances


def estimated_noise_std(y: Tensor) -> Tensor:
    """Return sigma of noise that is white in each channel, as noisy images show it, one for each.

    Model:
        median |d| / 0.6745 over the finest diagonal Haar details d of a channel, in which an image
        has little; then the root mean square over the channels. Also after clipping, which makes
        noise weaker than it was told.
    Shape:
        y (B, C, H, W) -> (B,), in the units of y.
    Raises:
        UserError: If an image has fewer than two rows or columns.
    References:
        Donoho and Johnstone (1994), Ideal spatial adaptation by wavelet shrinkage.
    """
    height, width = (size // 2 * 2 for size in y.shape[-2:])
    if not height or not width:
        raise UserError(f"noise cannot be estimated from an image of {tuple(y.shape[-2:])} px")
    even, odd = y[..., :height:2, :width], y[..., 1:height:2, :width]
    details = (even[..., ::2] - even[..., 1::2] - odd[..., ::2] + odd[..., 1::2]) / 2
    stds = details.abs().flatten(2).median(dim=2).values / MEDIAN_OF_NORMAL
    return stds.square().mean(dim=1).sqrt()


def is_noiseless(problem: InverseProblem) -> bool:
    """Return whether the noise model says by a standard deviation of 0 that y is exact.

    An operator of deepinv's with no noise model of its own says nothing.
    """
    model: Any = getattr(problem.physics, "noise_model", None)
    return type(model) is GaussianNoise and not bool(model.sigma.any())


def _hides_values(part: torch.nn.Module) -> bool:
    mask = getattr(part, "mask", None)
    return isinstance(mask, Tensor) and bool((mask == 0).any())


def _of_poisson(model: Any, y: Tensor) -> Tensor:
    return model.gain * y.mean() if model.normalize else torch.zeros(1)


def _of_speckle(model: Any, y: Tensor) -> Tensor:
    """Return s^2 mean(z^2), since E y^2 = (1 + s^2) z^2."""
    variance: Tensor = model.relative_std.square()
    return variance / (1 + variance) * y.square().mean()


def _of_impulses(model: Any, y: Tensor) -> Tensor:
    """Return p mean(z^2) + q mean((1 - z)^2), since E y^k = (1 - p - q) z^k + q."""
    p, q = model.p, model.s
    mean, mean_square = (((y**k).mean() - q) / (1 - p - q) for k in (1, 2))
    error: Tensor = p * mean_square + q * (1 - 2 * mean + mean_square)
    return error


def _of_counted_amplitudes(model: Any, y: Tensor) -> Tensor:
    """Return E(sqrt(N) - sqrt(lambda))^2 / c, from counts N that tell little of their lambda.

    Large counts have 1/4 + 7 / (64 N) in the mean. Of small ones each stands for a value such that
    the mean over N is that expectation; the values are its least-squares fit over lambda from
    0.001 to 30.
    """
    counts = (model.counts_per_unit * y.double().square()).round()
    table = torch.tensor(SQUARE_ERROR_OF_COUNT, dtype=counts.dtype, device=counts.device)
    small = table[counts.clamp(max=len(table) - 1).long()]
    large = 0.25 + 7 / 64 / counts.clamp(min=1)
    mean = torch.where(counts < len(table), small, large).mean()
    error: Tensor = mean / model.counts_per_unit.double()
    return error


MEAN_SQUARE_ERRORS: dict[type, Callable[[Any, Tensor], Tensor]] = {
    GaussianNoise: lambda model, y: model.sigma.square(),
    UniformNoise: lambda model, y: model.a.square() / 3,
    LaplaceNoise: lambda model, y: 2 * model.b.square(),
    PoissonNoise: _of_poisson,
    PoissonGaussianNoise: lambda model, y: model.gain * y.mean() + model.sigma.square(),
    SpeckleNoise: _of_speckle,
    SaltPepperNoise: _of_impulses,
    CountedAmplitudes: _of_counted_amplitudes,
}
