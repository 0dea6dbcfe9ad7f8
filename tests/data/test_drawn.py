"""Images that are drawn: ellipses and pure noise."""

import pytest
import torch

from metadip.data import Ellipses, PureNoise, SampleKey
from metadip.data.drawn import drawn_ellipses


def ellipses(split: str = "train", **changes: int) -> Ellipses:
    return Ellipses(**{"split": split, "channels": 3, "size_px": 24, "seed": 0, **changes})  # type: ignore[arg-type]


def test_images_fill_the_range_and_are_flat_inside() -> None:
    x = ellipses()[SampleKey(0, 3)].x
    assert x.shape == (3, 24, 24)
    assert (float(x.min()), float(x.max())) == (0, 1)
    large = drawn_ellipses(1, 64, torch.Generator().manual_seed(0))
    assert len(large.unique()) < 64 * 64 / 4  # areas of one value, not noise


def test_every_key_has_an_image_of_its_own() -> None:
    data = ellipses()
    assert torch.equal(data[SampleKey(1, 2)].x, ellipses()[SampleKey(1, 2)].x)
    others = [data[SampleKey(0, 2)], data[SampleKey(1, 3)], ellipses(seed=1)[SampleKey(1, 2)]]
    others.append(ellipses("val")[SampleKey(1, 2)])
    assert not any(torch.equal(other.x, data[SampleKey(1, 2)].x) for other in others)
    val = ellipses("val")
    assert torch.equal(val[SampleKey(0, 2)].x, val[SampleKey(5, 2)].x)  # validation stays
    assert ellipses("val", channels=1)[0].x.shape == (1, 24, 24)


def test_pure_noise_is_one_image() -> None:
    data = PureNoise(channels=3, size_px=64, seed=0)
    x = data[SampleKey(4, 0)].x
    assert len(data) == 1
    assert torch.equal(x, data[0].x)
    assert float(x.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(x.std()) == pytest.approx(12**-0.5, abs=0.01)
    with pytest.raises(IndexError, match="there is one image, asked for number 1"):
        data[1]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="channels and size_px must be at least 1, got 0 and 24"):
        ellipses(channels=0)
    with pytest.raises(ValueError, match="split is 'all'"):
        ellipses("all")
    with pytest.raises(ValueError, match="channels and size_px must be at least 1, got 3 and 0"):
        PureNoise(channels=3, size_px=0, seed=0)
