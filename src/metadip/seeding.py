"""Seeds from integers, so that a random choice depends only on its purpose."""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import NamedTuple

import torch


class Stream(IntEnum):
    """What a seed is used for; each purpose draws from its own stream.

    OPERATOR to GREY belong to a measurement, the others to a fit.
    """

    OPERATOR = 1
    NOISE_LEVEL = 2
    NOISE = 3
    TASK = 4
    SETTING = 31  # a ratio, factor or kernel that each image draws
    GREY = 32  # whether an image loses its colours
    WEIGHTS = 5
    LATENT = 6
    STEPS = 7  # of a fit: jitter, noise on weights, probes of a divergence
    RESTART = 8  # the seed of a further try
    PIXELS = 21  # a random choice of pixels to judge by
    JUDGE_WEIGHTS = 22  # the autoencoder of self-validation
    JUDGE_ORDER = 23  # the order in which it sees reconstructions


class SampleKey(NamedTuple):
    """The key of a data set's sample: image ``index`` as drawn in ``epoch``."""

    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which is not needed here


def as_key(key: SampleKey | int) -> SampleKey:
    """Convert a plain integer to the key of that image in epoch 0."""
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
    """Return the seed of what is called ``name``, independent of all others."""
    return seed_of(seed, *name.encode("utf-8", "surrogateescape"))


def generator_of(*ints: int) -> torch.Generator:
    """Return a fresh CPU generator seeded by ``seed_of(*ints)``."""
    return torch.Generator().manual_seed(seed_of(*ints))
