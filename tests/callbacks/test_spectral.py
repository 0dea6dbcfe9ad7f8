"""Spectral control's stop: its two measures written anew, a scripted stop; frequency bands."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter1d
from torch import Tensor

from metadip.callbacks import BlurToSharpness, FrequencyBands
from metadip.callbacks.spectral import blur, rings, sharpness
from metadip.types import UserError
from tests.callbacks.scripted import run_script
from tests.fitting.tiny import image, noisy, tiny_fit


def crete(grey: np.ndarray) -> float:
    """Crete's metric, with SciPy's box filter."""
    scores = []
    for axis in (0, 1):
        own = np.abs(np.diff(grey, axis=axis))
        smooth = uniform_filter1d(grey, 9, axis=axis, mode="nearest")
        less = np.abs(np.diff(smooth, axis=axis))
        scores.append(1 - np.maximum(own - less, 0).sum() / own.sum())
    return float(max(scores))


def largest_variations(grey: np.ndarray) -> float:
    """Bahrami and Kot's measure, pixel by pixel."""
    padded = np.pad(grey, 1, mode="edge")
    values = [
        np.abs(padded[i : i + 3, j : j + 3] - grey[i, j]).max()
        for i in range(grey.shape[0]) for j in range(grey.shape[1])
    ]  # fmt: skip
    ordered = np.sort(values)[::-1][:1000]
    return float(np.sqrt(np.mean((ordered * np.exp(-0.01 * np.arange(len(ordered)))) ** 2)))


@pytest.mark.parametrize("side", [12, 40])
def test_blur_and_sharpness_are_those_of_the_papers(side: int) -> None:
    x = image(0, (3, side, side)).double()
    grey = x[0].mean(dim=0).numpy()
    assert float(blur(x)) == pytest.approx(crete(grey))
    assert float(sharpness(x)) == pytest.approx(largest_variations(grey))


def test_a_blurred_image_is_blurrier_and_less_sharp() -> None:
    x = image(0, (1, 32, 32))
    soft = torch.nn.functional.avg_pool2d(x, 5, stride=1)
    assert blur(soft) > blur(x)
    assert sharpness(soft) < sharpness(x)


def script_of(n_frames: int, settles_at: int) -> Tensor:
    """One image that gets sharper until a frame and stays from then on."""
    sharp = image(0, (1, 16, 16))
    flat = torch.full_like(sharp, 0.5)
    shares = (torch.arange(n_frames) / settles_at).clamp(max=1)
    return torch.stack([flat + (0.2 + 0.8 * s) * (sharp - flat) for s in shares], dim=1)


def test_it_stops_where_the_ratio_has_settled() -> None:
    script = script_of(80, settles_at=40)
    hook = BlurToSharpness(window=5, tolerance=1e-6)
    state = run_script(script, [hook])
    assert state.stop_steps == {0: 49}  # ten equal ratios, those of frames 40 to 49
    assert "blur over sharpness has changed by less than 1e-06" in state.stop_reasons[0]
    ratio = state.curves["blur_to_sharpness"][0, :41]
    assert (ratio.diff() < 0).all()


def test_it_never_stops_before_two_windows() -> None:
    state = run_script(script_of(30, settles_at=1), [BlurToSharpness(window=10, tolerance=1.0)])
    assert state.stop_steps == {0: 21}


def test_rings_are_fifths_of_the_way_to_the_corner() -> None:
    ring = rings(10, 10)
    assert (int(ring[0, 0]), int(ring[5, 5]), int(ring[1, 0]), int(ring[0, 5])) == (0, 4, 0, 3)
    assert torch.equal(ring, ring.T)


def test_a_fit_of_everything_has_all_bands() -> None:
    """Frames: zero, half of y, y, twice y, which counts as all of it."""
    problem = noisy(0, (3, 8, 8))
    script = torch.stack([share * problem.y for share in (0.0, 0.5, 1.0, 2.0)], dim=1)
    state = run_script(script, [FrequencyBands()], problems=[problem])
    for band in range(1, 6):
        expected = torch.tensor([[0.0, 0.5, 1.0, 1.0]])
        torch.testing.assert_close(state.curves[f"band_{band}"], expected)


def test_a_fit_records_bands() -> None:
    (result,) = tiny_fit([noisy(0)], steps=2, hooks=[FrequencyBands()])
    assert result.curves["band_1"].isfinite().all()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="need window >= 1 and tolerance > 0, got 0 and 1"):
        BlurToSharpness(window=0, tolerance=1)
    with pytest.raises(UserError, match="callbacks=bands needs a measurement that is an image"):
        run_script(torch.zeros(1, 2, 1, 8, 8), [FrequencyBands()])
