"""Kinds of noise, drawn on the CPU so that a seed gives the same noise on every device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from deepinv.physics import GaussianNoise, NoiseModel, PoissonNoise, SaltPepperNoise
from torch import Generator, Tensor

from metadip.seeding import Stream, generator_of, seed_of


class SpeckleNoise(NoiseModel):
    """Multiply by a random gain, y = x + x N(0, s^2), which deepinv lacks.

    Args:
        relative_std: s, the standard deviation relative to the intensity.
    """

    relative_std: Tensor

    def __init__(self, relative_std: float) -> None:
        super().__init__()
        self.register_buffer("relative_std", torch.tensor(float(relative_std)))

    def forward(self, x: Tensor, **_: object) -> Tensor:
        """Return ``x`` with speckle from the global random generator."""
        return x + x * self.relative_std * torch.randn_like(x)


class CountedAmplitudes(NoiseModel):
    """Count photons and take the square root, y = sqrt(N / c) with N ~ Poisson(c z^2).

    Args:
        counts_per_unit: c, the count expected at amplitude 1, above 0.
    """

    counts_per_unit: Tensor

    def __init__(self, counts_per_unit: float) -> None:
        super().__init__()
        self.register_buffer("counts_per_unit", torch.tensor(float(counts_per_unit)))

    def forward(self, x: Tensor, **_: object) -> Tensor:
        """Return amplitudes ``x`` as counted, drawn from the global random generator."""
        return (torch.poisson(self.counts_per_unit * x.square()) / self.counts_per_unit).sqrt()


@dataclass(frozen=True)
class NoiseKind:
    """One kind of noise.

    Args:
        meaning: what the level is, in words.
        levels: the named levels.
        allowed: returns whether a number is a valid level.
        add: (x, level, generator) -> noisy x; drawn on the CPU, returned on the device of x.
        model: level -> the noise model for deepinv.
    """

    meaning: str
    levels: Mapping[str, float]
    allowed: Callable[[float], bool]
    add: Callable[[Tensor, float, Generator], Tensor]
    model: Callable[[float], NoiseModel]


def _add_gaussian(x: Tensor, std: float, generator: Generator) -> Tensor:
    return x + std * torch.randn(x.shape, generator=generator).to(x)


def _add_impulses(x: Tensor, fraction: float, generator: Generator) -> Tensor:
    """Replace a fraction of the values, half of them by 0 and half by 1."""
    coins = torch.rand(x.shape, generator=generator).to(x.device)
    return x.masked_fill(coins < fraction, 1).masked_fill(coins < fraction / 2, 0)


def _add_shot(x: Tensor, photons: float, generator: Generator) -> Tensor:
    """Count photons, in float32 so that the counts do not depend on the precision of x."""
    counts = torch.poisson(photons * x.float().cpu(), generator=generator)
    return counts.to(x) / photons


def _add_speckle(x: Tensor, std: float, generator: Generator) -> Tensor:
    return x + x * std * torch.randn(x.shape, generator=generator).to(x)


def _is_share(level: float) -> bool:
    return 0 <= level <= 1


# The levels are those of Wang et al. (2021), Early Stopping for Deep Image Prior, arXiv:2112.06074.
NOISES: Mapping[str, NoiseKind] = {
    "gaussian": NoiseKind(
        "the standard deviation, 0 to 1",
        {"low": 0.12, "medium": 0.18, "high": 0.26},
        _is_share,
        _add_gaussian,
        GaussianNoise,
    ),
    "impulse": NoiseKind(
        "the fraction of values lost, 0 to 1",
        {"low": 0.3, "medium": 0.5, "high": 0.7},
        _is_share,
        _add_impulses,
        lambda fraction: SaltPepperNoise(p=fraction / 2, s=fraction / 2),
    ),
    "shot": NoiseKind(
        "the photons counted at intensity 1, above 0",
        {"low": 25.0, "medium": 12.0, "high": 5.0},
        lambda level: 0 < level < math.inf,
        _add_shot,
        lambda photons: PoissonNoise(gain=1 / photons),
    ),
    "speckle": NoiseKind(
        "the standard deviation relative to the intensity, at least 0",
        {"low": 0.20, "medium": 0.35, "high": 0.45},
        lambda level: 0 <= level < math.inf,
        _add_speckle,
        SpeckleNoise,
    ),
}


def operator_seed(seed: int) -> int:
    """Return the seed of the operator for the measurement with ``seed``."""
    return seed_of(seed, Stream.OPERATOR)


def task_generator(seed: int) -> Generator:
    """Return the generator that draws the task for the measurement with ``seed``."""
    return generator_of(seed, Stream.TASK)


def draw_noise_std(low: float, high: float, *, seed: int) -> float:
    """Draw a noise level uniformly from [low, high]."""
    generator = generator_of(seed, Stream.NOISE_LEVEL)
    return low + (high - low) * torch.rand((), generator=generator).item()


def add_noise(kind: str, x: Tensor, level: float, *, seed: int) -> Tensor:
    """Return ``x`` with noise of one of ``NOISES``; it depends on ``x``, level and seed alone.

    deepinv's noise models hold a generator that is bound to one device and cannot be pickled, so
    they only carry the level and the pattern is drawn here.
    """
    return NOISES[kind].add(x, level, generator_of(seed, Stream.NOISE))


def add_gaussian_noise(y: Tensor, noise_std: float, *, seed: int) -> Tensor:
    """Return ``y`` plus white Gaussian noise; the pattern depends on seed and shape alone."""
    return add_noise("gaussian", y, noise_std, seed=seed)
