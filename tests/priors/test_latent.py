"""The latent: the same content at every size, fixed by its seed."""

import math
from typing import Any

import pytest
import torch

from metadip import registry
from metadip.priors import Latent

WAVES: dict[str, Any] = {"size_px": 16, "n_wavelengths": 3, "max_wavelength_px": 64.0}


def test_fourier_features_keep_their_pitch_at_every_size():
    """What was learned at 64 px meets the same input in the corner of 128 px."""
    latent = Latent(2, size_px=64, n_wavelengths=4)
    torch.testing.assert_close(latent(128, 128)[..., :64, :64], latent(64, 64), rtol=0, atol=0)
    torch.testing.assert_close(latent(7, 99)[..., :50], latent(7, 50), rtol=0, atol=0)


def test_fourier_features_by_hand():
    z = Latent(1, size_px=8, n_wavelengths=3, min_wavelength_px=4.0, max_wavelength_px=64.0)(6, 5)
    row, column = 5, 3
    wavelengths = (4.0, 16.0, 64.0)
    waves = [
        wave(2 * math.pi * position / w)
        for position in (row, column)
        for wave in (math.sin, math.cos)
        for w in wavelengths
    ]
    torch.testing.assert_close(z[0, 1:, row, column], torch.tensor(waves))


def test_noise_is_uniform_repeated_and_cropped():
    latent = Latent(3, size_px=8, n_wavelengths=0, noise_scale=0.5)
    z = latent(20, 11)
    assert z.shape == (1, 3, 20, 11)
    assert torch.equal(z[..., 8:16, :8], latent.noise)
    assert torch.equal(latent(5, 4), latent.noise[..., :5, :4])
    assert 0 <= z.min() < 0.1
    assert 0.4 < z.max() <= 0.5


def test_seed_fixes_the_noise_and_the_global_stream_is_left_alone():
    state = torch.get_rng_state()
    one, again, other = (Latent(2, seed=seed, **WAVES)(9, 9) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(one[:, :2], other[:, :2])
    assert torch.equal(one[:, 2:], other[:, 2:])


def test_redraw_keeps_precision_and_may_change_the_size():
    latent = Latent(2, **WAVES).double()
    latent.redraw(5, size_px=7)
    assert latent.noise.shape == (1, 2, 7, 7)
    assert latent(9, 9).dtype == torch.float64
    assert torch.equal(latent(7, 7)[:, :2], latent.noise)


@pytest.mark.parametrize(
    "change",
    [
        {"noise_scale": 0.2},
        {"size_px": 15},
        {"min_wavelength_px": 3.0},
        {"max_wavelength_px": 65.0},
        {"n_wavelengths": 4},
        {"seed": 1},
    ],
)
def test_every_argument_changes_the_latent(change: dict[str, Any]):
    z, changed = Latent(2, **WAVES)(17, 17), Latent(2, **{**WAVES, **change})(17, 17)
    assert z.shape != changed.shape or (z - changed).abs().max() > 1e-3


def test_description_rebuilds_the_latent():
    latent = Latent(2, noise_scale=0.3, min_wavelength_px=3.0, seed=4, **WAVES)
    again = registry.build("network input", latent.description)
    assert torch.equal(again(20, 10), latent(20, 10))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"noise_channels": 0}, "noise_channels and size_px must be at least 1, got 0 and 16"),
        ({"size_px": 0}, "noise_channels and size_px must be at least 1, got 2 and 0"),
        ({"min_wavelength_px": 2.0}, "need 2 < min <= max wavelength, got 2.0 and 64.0"),
        ({"min_wavelength_px": 65.0}, "need 2 < min <= max wavelength, got 65.0 and 64.0"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], text: str):
    with pytest.raises(ValueError, match=text):
        Latent(**{"noise_channels": 2, **WAVES, **change})
