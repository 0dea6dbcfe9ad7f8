"""Wiener deconvolution, the closed-form answer to a circular blur."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from deepinv.models import WienerDeconvolution
from deepinv.physics import BlurFFT, GaussianNoise
from torch import Tensor

from metadip.methods.denoisers import Denoiser
from metadip.methods.iteration import Iterative
from metadip.physics.kernel_blur import KernelBlur
from metadip.physics.noise_level import estimated_noise_std
from metadip.physics.shifts import windowed
from metadip.types import InverseProblem, UserError

NOISES, SIGNALS = ("known", "estimated"), ("natural", "flat", "amplitude")
MIN_NOISE_STD = 1e-4  # a quarter of 8-bit rounding; without noise, small values of H would explode


class Wiener(Iterative):
    """Undo a circular blur by deepinv's ``WienerDeconvolution``.

    Model:
        X(f) = H*(f) Y(f) / (|H(f)|^2 + sigma^2 / S(f)). S is the power spectrum of the image: the
        same at all frequencies, with the mean square of y (flat), or c / |f|^2 with the variance of
        y, as photographs have it (natural); amplitude takes the ratio sigma / mean(y) of amplitudes
        for sigma^2 / S, which reproduces Anderson's report. An estimated sigma is that of
        ``estimated_noise_std``. A ``denoiser`` is given the result, with the level sigma ||g|| of
        the noise that the filter g lets through. A blur of which y holds the valid part is undone
        as a circular one, after y is brought to the size of x by its border, faded into its own
        blur.
    Args:
        noise: known reads the level from the operator's Gaussian noise; estimated looks at y.
        signal: natural, flat or amplitude.
        noise_factor: sigma is taken to be larger by this factor, above 0: more than 1 where the
            kernel itself is not exact.
        denoiser: one of ``metadip.methods.denoisers`` for the result, or None.
    Raises:
        UserError: If an argument is unknown; when called, if the operator is no circular blur, or
            noise=known and its noise is not Gaussian.
    """

    def __init__(
        self,
        *,
        noise: str,
        signal: str,
        noise_factor: float,
        denoiser: Denoiser | None = None,
    ) -> None:
        for key, value, known in (("noise", noise, NOISES), ("signal", signal, SIGNALS)):
            if value not in known:
                raise UserError(f"method.{key}={value} is unknown; choose from {', '.join(known)}")
        if not 0 < noise_factor < math.inf:
            raise UserError(f"method.noise_factor={noise_factor} must be above 0, and finite")
        images = partial(
            _images, estimated=noise == "estimated", factor=noise_factor, signal=signal
        )
        check = partial(_check, estimated=noise == "estimated")
        super().__init__(
            denoiser,
            images=images,
            steps=1 if denoiser is None else 2,
            check=lambda problem, _, task: check(problem, task),
            rescale=False,
        )


def _check(problem: InverseProblem, task: str, *, estimated: bool) -> None:
    if not isinstance(problem.physics, BlurFFT | KernelBlur):
        raise UserError(
            f"method=wiener undoes circular blurs (task=deblur task.boundary=circular); here, for "
            f"{task}, use method=admm_tv or method=dip"
        )
    if not estimated and not isinstance(problem.physics.noise_model, GaussianNoise):
        raise UserError(
            f"method=wiener needs the level of Gaussian noise, and {task} has "
            f"{type(problem.physics.noise_model).__name__}: set method.noise=estimated"
        )


def _images(
    problem: InverseProblem,
    denoiser: Denoiser | None,
    *,
    estimated: bool,
    factor: float,
    signal: str,
) -> Iterator[Tensor]:
    """Yield y, the deconvolved image, and the denoised one."""
    y, physics = problem.y, problem.physics
    if isinstance(physics, KernelBlur):
        y, physics = _as_circular(y, physics.filter, problem.image_shape)
    yield y
    known = problem.physics.noise_model
    level = float(estimated_noise_std(problem.y)) if estimated else float(known.sigma)
    level = max(factor * level, MIN_NOISE_STD)
    width = y.shape[-1] // 2 + 1
    ratio = _noise_to_signal(y, level, signal).expand(1, 1, y.shape[-2], width)
    deconvolve = WienerDeconvolution(ratio)
    x: Tensor = deconvolve(y, physics)
    yield x
    if denoiser is not None:
        point = torch.zeros_like(y)
        point[:, :1, :1, :1] = 1
        yield denoiser(x, level * float(deconvolve(point, physics).norm()))


def _as_circular(
    y: Tensor, kernel: Tensor, image_shape: tuple[int, int, int]
) -> tuple[Tensor, BlurFFT]:
    """Return y at the size of x, as a circular blur would have it, and that blur."""
    reach = (kernel.shape[-2] // 2, kernel.shape[-1] // 2)
    full = windowed(y, -reach[0], -reach[1], image_shape[1:])
    physics = BlurFFT(image_shape, filter=kernel).to(y.device)
    weight = torch.ones_like(full[:1, :1])
    for axis, sums in ((-2, kernel.sum(-1)), (-1, kernel.sum(-2))):
        profile = sums.flatten()
        padded = torch.nn.functional.pad(profile, (0, full.shape[axis] - 1 - len(profile)))
        alike = torch.fft.irfft(torch.fft.rfft(padded).abs().square(), n=len(padded))
        fade = 1 - torch.cat([alike, alike[:1]]) / alike.max()
        weight = weight * (fade[:, None] if axis == -2 else fade)
    return weight * full + (1 - weight) * physics.A(full), physics


def _noise_to_signal(y: Tensor, level: float, signal: str) -> Tensor:
    """Return sigma^2 / S, (1, 1, 1, 1) or on the half spectrum."""
    if signal == "natural":
        return level**2 / _natural_spectrum(y)
    if signal == "flat":
        return (level**2 / y.square().mean()).reshape(1, 1, 1, 1)
    return (level / y.mean().abs().clamp(min=MIN_NOISE_STD)).reshape(1, 1, 1, 1)


def _natural_spectrum(y: Tensor) -> Tensor:
    """Return c / |f|^2 on the half spectrum (1, 1, H, W / 2 + 1), with the variance of y."""
    height, width = y.shape[-2:]
    rows = torch.fft.fftfreq(height, device=y.device, dtype=y.dtype)[:, None]
    f_squared = rows.square() + torch.fft.fftfreq(width, device=y.device, dtype=y.dtype).square()
    f_squared[0, 0] = torch.inf
    power: Tensor = y.var(dim=(-2, -1)).mean() * height * width / (1 / f_squared).sum()
    spectrum: Tensor = (power / f_squared)[:, : width // 2 + 1]
    spectrum[0, 0] = y.square().mean() * height * width  # the mean is as good as known
    floor = torch.finfo(y.dtype).tiny
    return torch.clamp(spectrum, min=floor)[None, None]
