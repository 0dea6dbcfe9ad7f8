"""ConvDecoder: its size, any image, its gain, and what it refuses."""

from typing import Any

import pytest
import torch
from deepinv.physics import Denoising
from torch import nn

from metadip import registry
from metadip.fitting import Adam, Sum, fit, mse
from metadip.priors import ConvDecoder
from metadip.tasks import MagneticResonanceTask
from metadip.types import InverseProblem

TINY: dict[str, Any] = {"width": 6, "layers": 3, "cells": 4, "bias": True}


def problem_of(channels: int, height: int, width: int) -> InverseProblem:
    x = torch.rand((1, channels, height, width), generator=torch.Generator().manual_seed(0))
    return InverseProblem(x - 0.5, Denoising(), (channels, height, width), seed=3)


def test_number_of_weights_is_that_of_the_authors_network():
    """As their code states for 15 complex coils: 160 channels, 8 layers, no biases."""
    with torch.device("meta"):
        network: nn.Module = ConvDecoder(30, width=160, layers=8, cells=8, bias=False).network
    assert sum(p.numel() for p in network.parameters()) == 1_850_560


@pytest.mark.parametrize("size", [(25, 64), (32, 20), (3, 5), (1, 1)])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_any_size_and_number_of_channels(size: tuple[int, int], channels: int):
    prior = ConvDecoder(2, **TINY).with_channels(channels)
    problem = problem_of(channels, *size)
    start = prior.start(problem)
    x = prior.forward(size, **start.inputs).x
    assert x.shape == (1, channels, *size)


def test_it_starts_with_the_energy_of_the_measurement_and_has_both_signs():
    prior, problem = ConvDecoder(2, **TINY), problem_of(2, 16, 20)
    result = fit([problem], prior, Sum(mse), Adam(lr=0.01), steps=0)[0]
    torch.testing.assert_close(result.x_hat.norm(), problem.y.norm(), rtol=1e-4, atol=0)
    assert result.x_hat.min() < 0 < result.x_hat.max()


def test_it_fits_the_k_space_of_a_complex_image():
    rows = torch.linspace(-1, 1, 24)
    x = (rows[:, None].square() + rows.square() < 0.6).float()[None, None] * 0.8
    problem = MagneticResonanceTask(2, coils=1, noise_std=0.0).measure(x, seed=0)
    prior = ConvDecoder(2, **{**TINY, "width": 16})
    result = fit([problem], prior, Sum(mse), Adam(lr=0.01), steps=60)[0]
    assert result.curves["loss"][-1] < 0.2 * result.curves["loss"][0]


def test_the_description_builds_it_again():
    prior = ConvDecoder(2, **TINY)
    assert registry.build("prior", prior.description).description == prior.description


@pytest.mark.parametrize("change", [{"width": 0}, {"layers": 1}, {"cells": 1}, {"out_channels": 0}])
def test_refuses(change: dict[str, int]):
    with pytest.raises(ValueError, match="out_channels and width must be at least 1, layers at"):
        ConvDecoder(**{"out_channels": 2, **TINY, **change})


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="makes images of 2 channels, asked for 3"):
        ConvDecoder(2, **TINY).start(problem_of(3, 8, 8))
