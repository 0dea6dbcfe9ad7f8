"""The order of images: seeded, without padding, dealt out by rank."""

from __future__ import annotations

import pytest

from metadip.data import SampleKey, TaskSampler, seed_of


def sampler(
    n_images: int = 10,
    *,
    epoch_size: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> TaskSampler:
    return TaskSampler(
        n_images,
        epoch_size=epoch_size,
        shuffle=shuffle,
        seed=seed,
        rank=rank,
        world_size=world_size,
    )


def test_epoch_is_a_seeded_permutation() -> None:
    first = sampler()
    zero = list(first)
    assert sorted(zero) == [SampleKey(0, i) for i in range(10)]
    assert zero == list(first) == list(sampler())
    assert zero != list(sampler(seed=1))
    first.set_epoch(1)
    one = list(first)
    assert {key.epoch for key in one} == {1}
    assert [key.index for key in one] != [key.index for key in zero]
    first.set_epoch(0)
    assert list(first) == zero


def test_long_epoch_never_repeats_a_key() -> None:
    long = sampler(3, epoch_size=8)
    keys = list(long)
    long.set_epoch(1)
    keys += list(long)
    assert len(keys) == len(set(keys)) == 16
    assert sorted(key.index for key in keys[:6]) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("n_images", "epoch_size"), [(10, None), (10, 6), (10, 11), (3, 8)])
def test_two_ranks_see_what_one_sees(n_images: int, epoch_size: int | None) -> None:
    one = list(sampler(n_images, epoch_size=epoch_size))
    ranks = [list(sampler(n_images, epoch_size=epoch_size, rank=r, world_size=2)) for r in (0, 1)]
    dealt = [key for pair in zip(*ranks, strict=True) for key in pair]
    assert dealt == one[: len(one) // 2 * 2]
    assert len(ranks[0]) == len(sampler(n_images, epoch_size=epoch_size, world_size=2))


def test_fixed_order_is_uneven_rather_than_padded() -> None:
    fixed = [sampler(5, shuffle=False, rank=r, world_size=2) for r in (0, 1)]
    fixed[0].set_epoch(3)
    assert list(fixed[0]) == [SampleKey(0, 0), SampleKey(0, 2), SampleKey(0, 4)]
    assert list(fixed[1]) == [SampleKey(0, 1), SampleKey(0, 3)]
    assert [len(s) for s in fixed] == [3, 2]
    assert [key.index for key in sampler(5, epoch_size=3, shuffle=False)] == [0, 1, 2]
    assert len(sampler(5, epoch_size=9, shuffle=False)) == 5


def test_ranges() -> None:
    with pytest.raises(ValueError, match=r"n_images is 0 and epoch_size None"):
        sampler(0)
    with pytest.raises(ValueError, match=r"n_images is 10 and epoch_size 0"):
        sampler(epoch_size=0)
    with pytest.raises(ValueError, match=r"rank is 2, must be in \[0, 2\)"):
        sampler(rank=2, world_size=2)
    with pytest.raises(ValueError, match=r"epoch of 1 images for 2 processes"):
        sampler(epoch_size=1, world_size=2)


def test_seed_is_stable_and_spreads() -> None:
    # blake2b of b"1,2,3" with 8 bytes, read little-endian, without its lowest bit
    assert seed_of(1, 2, 3) == 1517167407554927345
    seeds = {seed_of(a, b) for a in range(20) for b in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_progress_replaces_the_epoch_and_skips_what_was_seen() -> None:
    follower = sampler(epoch_size=6)
    follower.set_epoch(1)
    whole = list(follower)
    follower.progress = lambda: (1, 2)
    follower.set_epoch(5)
    assert list(follower) == whole[2:]
    assert follower.epoch == 1
