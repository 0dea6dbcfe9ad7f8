"""Objects without what far-field amplitudes cannot tell, against brute force."""

import math

import pytest
import torch
from torch import Tensor

from metadip.physics.far_field import FarField, as_complex, as_parts, magnitude_of
from metadip.physics.shifts import moved
from metadip.physics.symmetries import AlignedObject, aligned

EVERY = torch.ones(16, 16, dtype=torch.float64)


def drawn(channels: int, seed: int = 0) -> Tensor:
    """Return an object (1, C, 7, 8) inside a frame of zeros."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros((1, channels, 7, 8), dtype=torch.float64)
    x[..., 2:5, 2:6] = torch.randn((channels, 3, 4), generator=generator, dtype=torch.float64)
    return x.abs() if channels == 1 else x


def turned(x: Tensor) -> Tensor:
    """Return an object turned by 180 degrees and conjugated."""
    return as_parts(as_complex(x).conj().flip(-1, -2), x.shape[1])


def times_phase(x: Tensor, angle: float) -> Tensor:
    factor = complex(math.cos(angle), math.sin(angle))
    return as_parts(factor * as_complex(x), x.shape[1])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("shift", "angle"), [((0, 0), 0.0), ((1, -2), 2.5), ((-2, 1), -1.0)])
def test_symmetries_keep_the_amplitudes_and_are_undone(
    flip: bool, shift: tuple[int, int], angle: float
):
    x = drawn(2)
    other = times_phase(moved(turned(x) if flip else x, *shift), angle)
    physics = FarField((2, 7, 8), mask=EVERY)
    torch.testing.assert_close(physics.A(other), physics.A(x))
    torch.testing.assert_close(aligned(other, x), x)
    reading = AlignedObject(x)
    torch.testing.assert_close(reading(other, magnitude_of(x)), magnitude_of(x))
    scores = reading.scores(other, None)
    assert scores["relative_error"] < 1e-6
    assert scores["phase_psnr_db"] > 100


@pytest.mark.parametrize("channels", [1, 2])
def test_it_is_the_best_of_all_shifts_and_turns(channels: int):
    x, other = drawn(channels), drawn(channels, seed=1) + 0.1
    target = as_complex(x)
    best = math.inf
    for candidate in (other, turned(other)):
        for down in range(-6, 7):
            for right in range(-7, 8):
                u = as_complex(moved(candidate, down, right))
                product = (target * u.conj()).sum()
                factor = product / product.abs() if channels == 2 and product.abs() else 1.0
                best = min(best, float((target - factor * u).abs().square().sum()))
    found = (aligned(other, x) - x).square().sum().item()
    assert found == pytest.approx(best, rel=1e-9)


def test_real_objects_get_no_phase():
    x = drawn(1)
    other = moved(turned(x), 1, 1)
    torch.testing.assert_close(aligned(other, x), x)
    assert set(AlignedObject(x).scores(other, None)) == {"relative_error"}
    assert set(AlignedObject(x).pictures(other, None)) == {"magnitude", "support"}


def test_without_the_object_its_magnitude_or_its_middle_is_aligned_to():
    x = drawn(2)
    other = times_phase(moved(x, 1, 1), 1.0)
    reading = AlignedObject(None)
    torch.testing.assert_close(reading(other, magnitude_of(x)), magnitude_of(x))
    centred = reading(other, None)
    rows = (centred[0, 0].sum(1) * torch.arange(7)).sum() / centred.sum()
    assert abs(rows - 3) <= 0.5
    assert reading.scores(other, None) == {}


def test_a_phase_that_was_not_found_is_half_a_turn_off():
    x = drawn(2)
    scores = AlignedObject(x).scores(torch.zeros_like(x), magnitude_of(x))
    assert scores["relative_error"] == pytest.approx(1)
    assert scores["phase_psnr_db"] == pytest.approx(10 * math.log10(4))


def test_pictures_show_magnitude_phase_and_support():
    x = drawn(2)
    pictures = AlignedObject(x).pictures(x, None)
    assert set(pictures) == {"magnitude", "phase", "support"}
    assert all(picture.shape == (1, 1, 7, 8) for picture in pictures.values())
    assert pictures["magnitude"].max() == 1
    inside = pictures["support"] > 0
    expected = as_complex(x).angle()[:, None][inside] / (2 * math.pi) + 0.5
    torch.testing.assert_close(pictures["phase"][inside], expected)


@pytest.mark.parametrize("channels", [1, 2])
def test_amplitudes_are_those_of_the_padded_transform(channels: int):
    x = drawn(channels)
    mask = EVERY.clone()
    mask[8, 8] = 0
    y = FarField((channels, 7, 8), mask=mask).A(x)[0, 0]
    padded = torch.zeros(16, 16, dtype=torch.complex128)
    padded[3:10, 2:10] = as_complex(x)[0]  # another corner: amplitudes do not know it
    expected = torch.fft.fftshift(torch.fft.fft2(padded)).abs() / 16
    torch.testing.assert_close(y, expected * mask)
    assert y[8, 8] == 0


def test_an_object_that_does_not_fit_is_refused():
    for shape in ((3, 8, 8), (2, 17, 8)):
        with pytest.raises(ValueError, match="needs 1 or 2 channels, and a detector larger than"):
            FarField(shape, mask=EVERY)
