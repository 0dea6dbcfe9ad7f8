"""What one seed draws, on the CPU so that it means the same everywhere; Gaussian noise."""

from __future__ import annotations

import torch
from torch import Tensor

from metadip.data.seeding import generator_of, seed_of

# Streams of one seed, independent of one another.
_OPERATOR, _NOISE_LEVEL, _NOISE_PATTERN, _TASK = 1, 2, 3, 4


def operator_seed(seed: int) -> int:
    """Return the seed of the operator that belongs to the measurement with ``seed``."""
    return seed_of(seed, _OPERATOR)


def task_generator(seed: int) -> torch.Generator:
    """Return the generator that draws the task of the measurement with ``seed``."""
    return generator_of(seed, _TASK)


def draw_noise_std(low: float, high: float, *, seed: int) -> float:
    """Draw a noise level uniformly from [low, high]."""
    generator = generator_of(seed, _NOISE_LEVEL)
    return low + (high - low) * torch.rand((), generator=generator).item()


def add_gaussian_noise(y: Tensor, noise_std: float, *, seed: int) -> Tensor:
    """Return ``y`` plus white Gaussian noise; the pattern depends on seed and shape alone.

    deepinv's ``GaussianNoise`` holds a generator that is bound to one device and cannot be
    pickled, so it only carries the level and the pattern is drawn here.
    """
    generator = generator_of(seed, _NOISE_PATTERN)
    return y + noise_std * torch.randn(y.shape, generator=generator).to(y)
