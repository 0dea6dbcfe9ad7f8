"""Seeds from integers, so that a random choice depends on what it is for and on nothing else."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import NamedTuple

import torch


class Stream(IntEnum):
    """What a seed is used for; each purpose draws from a stream of its own.

    The first four belong to a measurement, the others to a fit.
    """

    OPERATOR = 1
    NOISE_LEVEL = 2
    NOISE = 3
    TASK = 4
    WEIGHTS = 5
    LATENT = 6
    STEPS = 7  # of a fit: jitter, noise on weights, probes of a divergence
    PIXELS = 21  # a random choice of pixels to judge by
    JUDGE_WEIGHTS = 22  # the autoencoder of self-validation
    JUDGE_ORDER = 23  # the order in which it sees reconstructions


class SampleKey(NamedTuple):
    """What a data set is asked for: image ``index`` as it is drawn in ``epoch``."""

    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


def as_key(key: SampleKey | int) -> SampleKey:
    """Read a plain integer as that image in epoch 0."""
    return key if isinstance(key, SampleKey) else SampleKey(0, int(key))


def seed_of(*ints: int) -> int:
    """Hash integers to a seed in [0, 2**63), the same in every process and Python version.

    Example:
        >>> seed_of(0, 1, 2) == seed_of(0, 1, 2), seed_of(0, 12) == seed_of(0, 1, 2)
        (True, False)
    """
    text = ",".join(str(int(i)) for i in ints)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_of_name(seed: int, name: str) -> int:
    """Return the seed of what is called ``name``, whatever stands beside it."""
    return seed_of(seed, *name.encode())


def generator_of(*ints: int) -> torch.Generator:
    """Return a fresh CPU generator seeded by ``seed_of(*ints)``."""
    return torch.Generator().manual_seed(seed_of(*ints))
