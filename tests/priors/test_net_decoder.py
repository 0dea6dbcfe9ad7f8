"""The decoder of Net-GD: the papers' sizes, a forward pass written anew; its coarse latent."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from deepinv.physics import Denoising
from torch import Tensor

from metadip import registry
from metadip.fitting import Execution, fit
from metadip.priors import CoarseLatent, LatentNetwork, NetDecoder
from metadip.types import InverseProblem
from tests.fitting.tiny import ADAM, MSE, SAME, noisy

LATENT: dict[str, Any] = {"channels": 4, "doublings": 2, "scale": 0.1}


def prior(channels: int = 3) -> LatentNetwork:
    network = NetDecoder(4, out_channels=channels, channels=[5, 6])
    return LatentNetwork(network, CoarseLatent(**LATENT))


def problem(*shape: int, seed: int = 0) -> InverseProblem:
    return InverseProblem(torch.zeros(1, *shape), Denoising(), shape, seed=seed)  # type: ignore[arg-type]


def by_hand(z: Tensor, weights: list[Tensor]) -> Tensor:
    *layers, last = weights
    for i in range(0, len(layers), 3):
        z = F.relu(F.conv2d(z, layers[i]))
        mean, variance = z.mean((2, 3), keepdim=True), z.var((2, 3), keepdim=True, correction=0)
        gain, offset = (layers[i + j][None, :, None, None] for j in (1, 2))
        z = gain * (z - mean) / (variance + 1e-5).sqrt() + offset
        z = F.interpolate(z, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.sigmoid(F.conv2d(z, last))


@pytest.mark.parametrize(
    ("latent", "channels", "out", "n_weights"),
    [
        (15, [15, 10], 1, 435),  # digits [paper]
        (25, [15, 10], 1, 585),  # digits [authors' code]
        (120, [15, 15, 10], 3, 2285),  # faces [paper]
        (120, [25, 15, 10], 3, 3655),  # faces [authors' code]
    ],
)
def test_number_of_weights_of_the_paper(
    latent: int, channels: list[int], out: int, n_weights: int
) -> None:
    network = NetDecoder(latent, out_channels=out, channels=channels)
    assert sum(w.numel() for w in network.parameters()) == n_weights


def test_the_formula_and_the_crop() -> None:
    ours = prior().double()
    z = torch.rand(1, 4, 3, 2, generator=torch.Generator().manual_seed(0)).double()
    expected = by_hand(z, list(ours.weights.values()))
    assert expected.shape == (1, 3, 12, 8)
    torch.testing.assert_close(ours((12, 8), z=z).x, expected)
    torch.testing.assert_close(ours((9, 7), z=z).x, expected[..., :9, :7])


@pytest.mark.parametrize(
    ("size", "cells"), [((28, 28), (7, 7)), ((29, 8), (8, 2)), ((1, 3), (2, 2))]
)
def test_cells_of_any_size(size: tuple[int, int], cells: tuple[int, int]) -> None:
    inputs = prior(1).start(problem(1, *size)).inputs
    assert inputs["z"].shape == (1, 4, *cells)
    assert prior(1)(size, **inputs).x.shape == (1, 1, *size)


def test_uniform_cells_and_waves() -> None:
    latent = CoarseLatent(8, doublings=1, scale=0.1)
    z = latent.of(problem(3, 64, 64))
    assert 0 <= z.min() < 0.001
    assert 0.099 < z.max() <= 0.1
    latent.redraw(1)
    assert not torch.equal(latent.of(problem(3, 64, 64)), z)
    waves = CoarseLatent(8, doublings=1, scale=1.0, kind="waves").of(problem(3, 64, 64))
    sines, cosines = waves.chunk(2, dim=1)
    torch.testing.assert_close(sines.square() + cosines.square(), torch.ones(1, 4, 32, 32))
    assert abs(float(waves.mean())) < 0.02  # whole periods


def test_seeds_are_the_image_s_own() -> None:
    first, again, other = (prior().start(problem(3, 9, 9, seed=s)) for s in (1, 1, 2))
    assert torch.equal(first.inputs["z"], again.inputs["z"])
    assert not torch.equal(first.inputs["z"], other.inputs["z"])
    assert all(torch.equal(first.weights[n], w) for n, w in again.weights.items())


def test_a_description_rebuilds_the_prior() -> None:
    ours = prior()
    twin = registry.build("prior", ours.description)
    assert twin.description == ours.description
    theirs = twin.start(problem(3, 12, 12, seed=3))
    mine = ours.start(problem(3, 12, 12, seed=3))
    assert torch.equal(theirs.inputs["z"], mine.inputs["z"])
    assert torch.equal(twin((12, 12), **theirs.inputs).x.new_zeros(1), torch.zeros(1))
    assert (
        prior().with_channels(1).start(problem(1, 12, 12)).weights["network.head.weight"].shape[0]
        == 1
    )


def test_images_of_a_stack_do_not_mix() -> None:
    problems = [noisy(seed, (3, 10, 12)) for seed in range(2)]
    alone, stacked = (
        fit(problems, prior(), MSE, ADAM, steps=2, execution=Execution(stacked=s))
        for s in (False, True)
    )
    for one, both in zip(alone, stacked, strict=True):
        torch.testing.assert_close(one.x_hat, both.x_hat, **SAME)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"channels": 0}, "need channels >= 1, doublings >= 0 and scale > 0, got 0"),
        ({"doublings": -1}, "got 4, -1 and 0.1"),
        ({"scale": 0.0}, "got 4, 2 and 0.0"),
        ({"channels": 3, "kind": "waves"}, "waves need an even number of channels, got 3"),
        ({"kind": "noise"}, "kind must be one of"),
    ],
)
def test_bad_latents_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        CoarseLatent(**{**LATENT, **change})


@pytest.mark.parametrize("channels", [[], [4, 0]])
def test_bad_widths_are_refused(channels: list[int]) -> None:
    with pytest.raises(ValueError, match="widths must be at least 1, and there must be a layer"):
        NetDecoder(4, out_channels=1, channels=channels)
