"""The coordinate network: its draw, its size, its freedom of image size; and what enters it."""

import math
from typing import Any

import pytest
import torch
from deepinv.physics import Denoising

from metadip import registry
from metadip.priors import (
    BackProjection,
    Coordinates,
    LatentNetwork,
    NetworkInput,
    Siren,
    SkipUNet,
    draw_weights,
)
from metadip.tasks import CompressiveSensingTask, PhaseRetrievalTask
from metadip.types import InverseProblem

TINY: dict[str, Any] = {"out_channels": 3, "width": 16, "n_layers": 3, "omega": 30.0}


def problem(height: int, width: int, *, dtype: torch.dtype = torch.float32) -> InverseProblem:
    y = torch.rand(1, 3, height, width, dtype=dtype)
    return InverseProblem(y, Denoising(), (3, height, width), x=y)


def test_number_of_weights_of_the_learned_initializations():
    """2 * 256 + 4 * 256^2 + 256 * 3 weights and 5 * 256 + 3 biases, 5 layers of 256."""
    with torch.device("meta"):
        network = Siren(2, out_channels=3, width=256, n_layers=5, omega=30.0)
    assert sum(p.numel() for p in network.parameters()) == 512 + 4 * 256**2 + 768 + 1280 + 3


def test_the_formula():
    network = Siren(2, **TINY).double()
    z = torch.rand(1, 2, 4, 5, dtype=torch.float64)
    h = z[0, :, 3, 1]
    for layer in network.hidden:
        h = torch.sin(30 * (layer.weight @ h + layer.bias))  # type: ignore[operator]
    torch.testing.assert_close(
        network(z)[0, :, 3, 1], network.head.weight @ h + network.head.bias + 0.5
    )


def test_weights_are_drawn_for_sines_from_the_seed():
    network = draw_weights(Siren(2, **{**TINY, "width": 64}), seed=3)
    again = draw_weights(network, seed=3)
    bound = math.sqrt(6 / 64) / 30
    for name, weight in network.named_parameters():
        assert torch.equal(weight, dict(again.named_parameters())[name])
        if name.endswith("weight"):
            limit = 0.5 if name.startswith("hidden.0") else bound
            assert 0.8 * limit < weight.abs().max() <= limit, name


@pytest.mark.parametrize("size", [(25, 129), (1, 1), (16, 16)])
def test_any_size(size: tuple[int, int]):
    network = Siren(2, **TINY)
    assert network(Coordinates().of(problem(*size))).shape == (1, 3, *size)


@pytest.mark.parametrize(
    "change", [{"width": 8}, {"n_layers": 2}, {"omega": 10.0}, {"out_channels": 1}]
)
def test_every_argument_changes_the_image(change: dict[str, Any]):
    z = Coordinates().of(problem(6, 6))
    images = [draw_weights(Siren(2, **{**TINY, **c}), seed=0)(z) for c in ({}, change)]
    assert images[0].shape != images[1].shape or not torch.allclose(*images)


@pytest.mark.parametrize("name", ["width", "n_layers", "out_channels", "omega"])
def test_bad_arguments_are_refused(name: str):
    with pytest.raises(ValueError, match="must be at least 1 and omega above 0"):
        Siren(2, **{**TINY, name: 0})


def test_coordinates_are_the_centres_of_pixels():
    z = Coordinates().of(problem(2, 4))
    assert z.shape == (1, 2, 2, 4)
    assert z[0, 0, :, 0].tolist() == [-0.25, 0.25]
    assert z[0, 1, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert Coordinates().of(problem(2, 4, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("entry", [Coordinates(), BackProjection(3)])
def test_a_description_rebuilds_the_input(entry: NetworkInput):
    twin = registry.build("network input", entry.description)
    assert type(twin) is type(entry)
    assert twin.description == entry.description
    assert torch.equal(twin.of(problem(3, 4)), entry.of(problem(3, 4))) or isinstance(
        entry, BackProjection
    )


def test_unknown_descriptions_are_refused():
    with pytest.raises(ValueError, match="unknown network input 'pixels'"):
        registry.build("network input", {"type": "pixels"})
    with pytest.raises(ValueError, match="'coordinates' does not take these arguments"):
        registry.build("network input", {"type": "coordinates", "channels": 2})
    assert isinstance(registry.build("network", Siren(2, **TINY).description), Siren)


def test_a_denoiser_sees_the_back_projected_measurement():
    noisy = problem(6, 7)
    assert torch.equal(BackProjection(3).of(noisy), noisy.y)
    sensed = CompressiveSensingTask(
        0.5, noise_std=0.0, operator="gaussian", max_bytes=10**9
    ).measure(torch.rand(1, 3, 8, 8), seed=0)
    expected = sensed.physics.A_adjoint(sensed.y)
    torch.testing.assert_close(BackProjection(3).of(sensed), expected)


def test_a_denoiser_does_not_serve_operators_without_an_adjoint():
    task = PhaseRetrievalTask(1.0, noise_std=0.0, operator="gaussian", max_bytes=10**9)
    with pytest.raises(ValueError, match="has no adjoint, which this prior's input needs"):
        BackProjection(3).of(task.measure(torch.rand(1, 3, 8, 8), seed=0))


def test_a_denoiser_keeps_its_number_of_channels():
    network = SkipUNet(3, out_channels=3, channels=[6], skip_channels=[2], residual=True)
    denoiser = LatentNetwork(network, BackProjection(3), learned=True)
    with pytest.raises(ValueError, match="takes images of 3 channels, asked for 1"):
        denoiser.with_channels(1)


def test_a_residual_network_corrects_its_input():
    network = SkipUNet(3, out_channels=3, channels=[6], skip_channels=[2], residual=True)
    with torch.no_grad():
        for p in network.head.parameters():
            p.zero_()
    x = torch.rand(1, 3, 9, 10)
    assert torch.equal(network(x), x)
    with pytest.raises(ValueError, match="residual adds an image to an image, got 4 and 3"):
        SkipUNet(4, out_channels=3, channels=[6], skip_channels=[2], residual=True)
