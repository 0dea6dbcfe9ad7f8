"""The deep decoder against a forward pass written anew, its size, its draws, any image size."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from deepinv.physics import Denoising
from torch import Tensor

from metadip import registry
from metadip.fitting import Execution, fit
from metadip.priors import DeepDecoder
from metadip.types import InverseProblem
from tests.fitting.tiny import ADAM, MSE, SAME, noisy

TINY: dict[str, Any] = {"width": 6, "doublings": 3}


def problem(shape: tuple[int, int, int], *, seed: int = 0) -> InverseProblem:
    return InverseProblem(torch.zeros(1, *shape), Denoising(), shape, seed=seed)


def by_hand(z: Tensor, weights: list[Tensor], n_upsamplings: int) -> Tensor:
    """Return the image of a latent; three tensors per layer, then the last convolution."""
    *layers, last = weights
    for i in range(0, len(layers), 3):
        z = F.conv2d(z, layers[i])
        if i // 3 < n_upsamplings:
            z = F.interpolate(z, scale_factor=2, mode="bilinear", align_corners=False)
        z = F.relu(z)
        mean, variance = z.mean((2, 3), keepdim=True), z.var((2, 3), keepdim=True, correction=0)
        gain, offset = (layers[i + j][None, :, None, None] for j in (1, 2))
        z = gain * (z - mean) / (variance + 1e-5).sqrt() + offset
    return torch.sigmoid(F.conv2d(z, last))


@pytest.mark.parametrize(("width", "n_weights"), [(128, 100_224), (64, 25_536)])
def test_number_of_weights_of_the_paper(width: int, n_weights: int):
    """The authors state both, for colour images."""
    prior = DeepDecoder(3, width=width)
    assert sum(w.numel() for w in prior.weights.values()) == n_weights
    assert sum(w.ndim == 4 for w in prior.weights.values()) == 7


def test_the_formula():
    prior = DeepDecoder(3, **TINY).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in prior.weights.values():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    z = torch.rand(1, 6, 2, 3, generator=generator, dtype=torch.float64)
    expected = by_hand(z, list(prior.weights.values()), n_upsamplings=3)
    assert expected.shape == (1, 3, 16, 24)
    torch.testing.assert_close(prior((16, 24), z=z).x, expected)
    torch.testing.assert_close(prior((13, 17), z=z).x, expected[..., :13, :17])


@pytest.mark.parametrize(
    ("size", "cells"), [((64, 96), (2, 3)), ((65, 129), (3, 5)), ((31, 1), (2, 2))]
)
def test_any_size(size: tuple[int, int], cells: tuple[int, int]):
    prior = DeepDecoder(1, width=4)
    (_, inputs) = prior.start(problem((1, *size)))
    assert inputs["z"].shape == (1, 4, *cells)
    x = prior(size, **inputs).x
    assert x.shape == (1, 1, *size)
    assert size[1] == 1 or x.std() > 0  # from one cell it would be constant


def test_the_same_seed_gives_the_same_start_and_no_global_draw():
    prior, state = DeepDecoder(3, **TINY), torch.get_rng_state()
    starts = [prior.start(problem((3, 40, 17), seed=seed)) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    first, again, other = ({**start.weights, **start.inputs} for start in starts)
    assert list(starts[0].weights) == list(prior.weights)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["z"], other["z"])
    assert not torch.equal(first["network.0.0.weight"], other["network.0.0.weight"])
    assert 0 <= first["z"].min() < 0.02
    assert 0.08 < first["z"].max() <= 0.1


def test_a_learned_prior_starts_from_what_is_stored():
    learned = DeepDecoder(3, **TINY, learned=True, learned_px=64)
    (weights, inputs), other = (learned.start(problem((3, 16, 24), seed=s)) for s in (1, 2))
    assert all(weights[name] is stored for name, stored in learned.weights.items())
    assert torch.equal(inputs["z"], other.inputs["z"])
    assert torch.equal(inputs["z"], learned.latent.noise[..., :2, :3])


def test_a_description_rebuilds_the_prior():
    prior = DeepDecoder(2, width=5, doublings=2, noise_scale=0.3, seed=4)
    twin = registry.build("prior", prior.description, learned=True)
    assert isinstance(twin, DeepDecoder)
    assert (twin.description, twin.learned) == (prior.description, True)
    twin.load_state_dict(prior.state_dict())
    z = prior.latent(3, 4)
    assert torch.equal(twin.latent(3, 4), z)
    assert torch.equal(twin((12, 16), z=z).x, prior((12, 16), z=z).x)


@pytest.mark.parametrize(
    "change", [{"width": 5}, {"doublings": 2}, {"noise_scale": 0.5}, {"seed": 1}]
)
def test_every_argument_changes_the_image(change: dict[str, Any]):
    images = []
    for arguments in (TINY, {**TINY, **change}):
        learned = DeepDecoder(3, **arguments, learned=True).drawn(0)
        learned.latent.redraw(learned.description["seed"])
        images.append(learned((16, 16), **learned.start(problem((3, 16, 16))).inputs).x)
    assert not torch.allclose(*images)


def test_other_numbers_of_channels():
    prior = DeepDecoder(3, **TINY)
    grey = prior.with_channels(1)
    assert (grey.image_channels, prior.image_channels) == (1, 3)
    ours, theirs = (p.start(problem((1, 9, 9))) for p in (grey, DeepDecoder(1, **TINY)))
    assert all(torch.equal(ours.weights[n], w) for n, w in theirs.weights.items())
    assert prior.with_channels(3) is prior
    with pytest.raises(ValueError, match="makes images of 3 channels, asked for 1"):
        DeepDecoder(3, **TINY, learned=True).with_channels(1)
    with pytest.raises(ValueError, match="makes images of 3 channels, asked for 1"):
        prior.start(problem((1, 9, 9)))


@pytest.mark.parametrize("name", ["out_channels", "width", "doublings"])
def test_bad_arguments_are_refused(name: str):
    with pytest.raises(ValueError, match="out_channels, width and doublings must be at least 1"):
        DeepDecoder(**{"out_channels": 3, **TINY, name: 0})


def test_a_fit_is_plain_optimisation_alone_and_stacked():
    problems, prior = [noisy(seed, (3, 19, 12)) for seed in range(2)], DeepDecoder(3, **TINY)
    alone, stacked = (
        fit(problems, prior, MSE, ADAM, steps=2, execution=Execution(stacked=s))
        for s in (False, True)
    )
    for seen, one, both in zip(problems, alone, stacked, strict=True):
        weights, inputs = copy.deepcopy(prior.start(seen))
        leaves = [w.detach().requires_grad_() for w in weights.values()]
        optimizer = torch.optim.Adam(leaves, lr=0.02)
        for _ in range(2):
            optimizer.zero_grad()
            x = by_hand(inputs["z"], leaves, 3)[..., :19, :12]
            (x - seen.y).square().mean().backward()
            optimizer.step()
        x = by_hand(inputs["z"], leaves, 3)[..., :19, :12].detach()
        torch.testing.assert_close(one.x_hat, x, **SAME)
        torch.testing.assert_close(both.x_hat, x, **SAME)
