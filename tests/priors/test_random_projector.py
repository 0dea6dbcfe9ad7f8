"""The parts of the Deep Random Projector, and what its presets move."""

from typing import Any

import pytest
import torch
from deepinv.physics import Denoising
from torch import nn

from metadip import config, registry
from metadip.fitting import Adam, ByGroup, Group, Sum, fit, mse, rmse
from metadip.fitting.objectives import evaluate
from metadip.methods import FitReconstructor
from metadip.priors import GaussianLatent, LatentNetwork, RandomProjector
from metadip.types import FitResult, InverseProblem
from tests.fitting.tiny import look, noisy

TINY: dict[str, Any] = {"out_channels": 3, "channels": [6, 4], "skip_channels": [2, 0]}


def preset(*settings: str) -> FitReconstructor:
    method = config.build(config.compose("infer", ["method=drp", *settings]).method)
    assert isinstance(method, FitReconstructor)
    return method


def affine_names(module: nn.Module) -> set[str]:
    """Return the names of all parameters of normalisations, told by the class of their module."""
    return {
        f"{name}.{parameter}"
        for name, part in module.named_modules()
        if isinstance(part, nn.BatchNorm2d)
        for parameter in ("weight", "bias")
    }


def test_the_numbers_of_the_authors():
    """82,979 weights of the network; 656 of its normalisations and 6 of the seed's move."""
    method = preset()
    weights = dict(method.prior.weights)
    own = {name: w for name, w in weights.items() if name.startswith("network.norm.")}
    assert sum(w.numel() for w in weights.values()) == 82_979 + 6
    assert sum(w.numel() for w in own.values()) == 6
    start = method.prior.start(noisy(0))
    names, _ = method.optimizer.bind(start)
    moved = set(names) - {"inputs.z"}
    assert moved == affine_names(method.prior)
    assert sum(weights[name].numel() for name in moved) == 656 + 6
    assert "inputs.z" in names
    assert method.steps == 5000
    assert method.callbacks == []


def moving(*scales: int) -> tuple[LatentNetwork, FitResult]:
    sizes = {"channels": list(scales), "skip_channels": [2] * len(scales)}
    method = preset(*(f"prior.network.{key}={value}" for key, value in sizes.items()))
    assert isinstance(method.prior, LatentNetwork)
    method.steps = 3
    (result,) = method.reconstruct([noisy(0)])
    return method.prior, result


@pytest.mark.parametrize("scales", [(8,), (8, 4)], ids=["one scale", "two scales"])
def test_convolutions_stay_bit_for_bit(scales: tuple[int, ...]):
    prior, result = moving(*scales)
    before, after = prior.start(noisy(0)), result.end
    assert after is not None
    affine = affine_names(prior)
    for name, weight in before.weights.items():
        assert torch.equal(after.weights[name], weight) == (name not in affine), name
    assert not torch.equal(after.inputs["z"], before.inputs["z"])


def test_two_steps_by_hand():
    """Three Adams of torch, one each for network, seed and its normalisation, as the authors'."""
    seen = noisy(0, (3, 9, 8))
    prior = LatentNetwork(RandomProjector(3, **TINY), GaussianLatent(3, noise_std=0.1))
    groups = {"all": Group(["network.norm.*", "*.join.*", "*.[14].*", "inputs.z"], Adam(lr=0.1))}
    tv = config.build(config.compose("infer", ["method=drp"]).objective).terms["tv"]
    (result,) = fit([seen], prior, Sum(rmse, {"tv": tv}), ByGroup(groups), steps=2)
    weights, inputs = prior.start(seen)
    network = RandomProjector(3, **TINY)
    network.load_state_dict({n.removeprefix("network."): w for n, w in weights.items()})
    z = inputs["z"].clone().requires_grad_()
    own = [p for name, p in network.named_parameters() if f"network.{name}" in affine_names(prior)]
    optimizers = [torch.optim.Adam(group, lr=0.1) for group in (own, [z])]
    for _ in range(2):
        for optimizer in optimizers:
            optimizer.zero_grad()
        normal = (z - z.mean((2, 3), keepdim=True)) / (
            z.var((2, 3), keepdim=True, correction=0) + 1e-5
        ).sqrt()
        gain, offset = (p[None, :, None, None] for p in network.norm.parameters())
        x = network.generator(gain * normal + offset)
        rows, columns = (x.diff(dim=d).abs().sum() / x.numel() for d in (2, 3))
        ((x - seen.y).square().mean().sqrt() + 0.45 * (rows + columns)).backward()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(result.x_hat, network(z).detach(), rtol=1e-3, atol=1e-4)


def test_the_root_of_the_squared_error():
    y, y_hat = torch.rand(2, 2, 7, dtype=torch.float64)
    seen = look(torch.rand(2, 3, 2, 2), y_hat, y)
    expected = ((y_hat - y) ** 2).sum(1).div(12).sqrt()  # 3 x 2 x 2 pixels and channels
    torch.testing.assert_close(rmse(seen), expected)
    found = evaluate(Sum(rmse), seen)
    torch.testing.assert_close(found.misfit.square(), mse(seen))
    again = registry.build("objective", Sum(rmse).description)
    assert torch.equal(again(seen), rmse(seen))


def problem(seed: int, shape: tuple[int, int, int] = (3, 50, 40)) -> InverseProblem:
    return InverseProblem(torch.zeros(1, *shape), Denoising(), shape, seed=seed)


def test_that_of_super_resolution_has_the_authors_width():
    prior = config.build(config.compose("infer", ["method=drp_sr"]).prior)
    assert sum(w.numel() for w in prior.weights.values()) == 319_259 + 2  # 2 of the seed's


def test_the_seed_is_gaussian_and_each_image_has_its_own():
    prior = LatentNetwork(RandomProjector(3, **TINY), GaussianLatent(3, noise_std=0.1))
    z, again, other = (prior.start(problem(s)).inputs["z"] for s in (1, 1, 2))
    assert z.shape == (1, 3, 50, 40)
    assert torch.equal(z, again)
    assert abs((z * other).mean() / 0.01) < 0.06  # five standard deviations of 6000 values
    assert abs(z.mean()) < 0.007
    assert abs(z.std() / 0.1 - 1) < 0.05
    excess = (z / z.std()).pow(4).mean() - 3
    assert abs(excess) < 0.4  # a uniform draw has -1.2


def test_descriptions_rebuild_network_and_latent():
    prior = LatentNetwork(RandomProjector(3, **TINY), GaussianLatent(3, noise_std=0.2, seed=5))
    twin = registry.build("prior", prior.description, learned=True)
    assert twin.description == prior.description
    twin.load_state_dict(prior.state_dict())
    z = twin.start(problem(0)).inputs["z"]
    assert torch.equal(z, prior.latent.of(problem(1)))
    assert torch.equal(twin.network(z), prior.network(z))


@pytest.mark.parametrize("channels", [1, 2])
def test_other_numbers_of_channels(channels: int):
    prior = LatentNetwork(RandomProjector(3, **TINY), GaussianLatent(3, noise_std=0.1))
    other, seen = prior.with_channels(channels), problem(0, (channels, 9, 8))
    assert other((9, 8), z=other.start(seen).inputs["z"]).x.shape == (1, channels, 9, 8)


@pytest.mark.parametrize(("channels", "noise_std"), [(0, 0.1), (3, 0.0)])
def test_bad_arguments_are_refused(channels: int, noise_std: float):
    with pytest.raises(ValueError, match=r"need channels >= 1 and noise_std > 0, got"):
        GaussianLatent(channels, noise_std=noise_std)
    with pytest.raises(ValueError, match="channels must be at least 1"):
        RandomProjector(0, **TINY)
