"""Mixtures of image sources: shares, order, keys that never repeat, refusals."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch

from metadip.data import ImageMixture, LoaderSettings, SampleKey, TaskSampler, mixture_data
from metadip.types import CleanImage, UserError


class Images:
    """A source whose images tell what was asked for."""

    def __init__(self, code: int, size: int, *, split: str, seed: int) -> None:
        self.code, self.size, self.split, self.seed = code, size, split, seed

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: SampleKey, /) -> CleanImage:
        assert 0 <= key.index < self.size
        x = torch.tensor([self.code, key.epoch, key.index]).reshape(3, 1, 1)
        return CleanImage(x, key.index, f"{key.index:03d}", key.epoch)


def sources(*sizes: int) -> dict[str, Callable[..., Images]]:
    return {"abc"[k]: partial(Images, k, size) for k, size in enumerate(sizes)}


def mixture(
    *sizes: int, weights: Mapping[str, float], split: str = "train", seed: int = 0
) -> ImageMixture:
    return ImageMixture(sources(*sizes), weights=weights, split=split, seed=seed)


def asked(images: ImageMixture, epoch: int) -> list[tuple[int, int, int]]:
    """Return source, source epoch and source index of every image of a pass."""
    keys = [SampleKey(epoch, index) for index in range(len(images))]
    return [tuple(images[key].x.flatten().tolist()) for key in keys]


@pytest.mark.parametrize(
    ("sizes", "weights", "counts"),
    [
        ((50, 8), {"a": 1.0, "b": 1.0}, [8, 8]),
        ((50, 8), {"a": 6, "b": 2}, [24, 8]),
        ((50, 8), {"a": 1.0, "b": 0.001}, [50, 1]),
        ((50, 8, 9), {"a": 1.0, "b": 0.0, "c": 3.0}, [3, 9]),
    ],
)
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_pass_has_the_shares_of_the_weights(
    sizes: tuple[int, ...], weights: dict[str, float], counts: list[int], split: str
) -> None:
    images = mixture(*sizes, weights=weights, split=split)
    found = Counter(source for source, _, _ in asked(images, 0))
    assert [found[source] for source in sorted(found)] == counts
    assert len(images) == sum(counts)


def test_every_stretch_has_them_too() -> None:
    images = mixture(90, 30, weights={"a": 3.0, "b": 1.0}, split="val")
    kinds = [source for source, _, _ in asked(images, 0)]
    for start in range(len(kinds) - 20):
        assert abs(kinds[start : start + 20].count(1) - 5) <= 1


def test_validation_takes_the_first_images_in_order() -> None:
    images = mixture(50, 8, weights={"a": 1.0, "b": 1.0}, split="val", seed=3)
    first = asked(images, 0)[:6]
    assert first == [(0, 0, 0), (1, 0, 0), (0, 0, 1), (1, 0, 1), (0, 0, 2), (1, 0, 2)]
    assert [vars(source)["split"] for source in images.sources] == ["val", "val"]
    assert [vars(source)["seed"] for source in images.sources] == [3, 3]
    image = images[3]
    assert (image.index, image.name, image.epoch) == (3, "b_001", 0)


def test_nothing_is_asked_for_twice_and_every_image_equally_often() -> None:
    images = mixture(7, 4, weights={"a": 1.0, "b": 2.0})
    keys = [key for epoch in range(14) for key in asked(images, epoch)]
    assert len(set(keys)) == len(keys)
    per_image = Counter((source, index) for source, _, index in keys)
    assert {per_image[0, i] for i in range(7)} == {4}
    assert {per_image[1, i] for i in range(4)} == {14}


def test_an_image_depends_on_seed_epoch_and_index_alone() -> None:
    weights = {"a": 1.0, "b": 1.0}
    one, same, other = (mixture(30, 20, weights=weights, seed=seed) for seed in (1, 1, 2))
    later = asked(one, 3)
    assert asked(same, 3) == later
    assert asked(other, 3) != later
    image = same[SampleKey(3, 5)]
    assert (image.index, image.epoch) == (5, 3)
    torch.testing.assert_close(image.x.flatten(), torch.tensor(later[5]))
    assert [k for _, _, k in asked(one, 0) if k < 3] != [0, 0, 1, 1, 2, 2]  # shuffled


def test_two_processes_see_what_one_sees() -> None:
    images = mixture(30, 20, weights={"a": 1.0, "b": 1.0})
    samplers = [
        TaskSampler(
            len(images), epoch_size=60, shuffle=True, seed=0, rank=rank, world_size=world_size
        )
        for rank, world_size in ((0, 1), (0, 2), (1, 2))
    ]
    one, *two = [[images[key].x.flatten().tolist() for key in sampler] for sampler in samplers]
    assert [item for pair in zip(*two, strict=True) for item in pair] == one
    assert len({tuple(item) for item in one}) == 60


def fail(text: str, **_: object) -> Images:
    raise UserError(text)


def data(weights: dict[str, Any], **given: Callable[..., Images]) -> Any:
    loader = LoaderSettings(1, 4, None, None, None, 0)
    return mixture_data(given, weights=weights, loader=loader, task=None, seed=0)


def test_data_module() -> None:
    given = {"a": partial(Images, 0, 9), "b": partial(Images, 1, 9)}
    module = data({"a": 1.0, "b": 1.0}, **given)
    batch = next(iter(module.val_dataloader()))
    assert [image.name for image in batch] == ["a_000", "b_000", "a_001", "b_001"]
    bad = data({"a": 1.0, "b": 1.0}, **given | {"b": partial(fail, "no photographs")})
    with pytest.raises(UserError, match=r"^data\.sources\.b: no photographs$"):
        bad.setup("fit")
    data({"a": 1.0, "b": 0.0}, **given | {"b": partial(fail, "never made")}).setup("fit")
    with pytest.raises(UserError, match=r"^data\.weights are all 0: give at least one of a, b"):
        data({"a": 0.0, "b": 0}, **given)
    with pytest.raises(UserError, match=r"^data\.weights\.dogs weighs what is not there"):
        data({"a": 1.0, "b": 1.0, "dogs": 1.0}, **given)


def test_unknown_split() -> None:
    with pytest.raises(ValueError, match=r"split is 'all'"):
        mixture(3, 3, weights={"a": 1.0, "b": 1.0}, split="all")
