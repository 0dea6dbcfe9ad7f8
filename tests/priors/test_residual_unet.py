"""The residual U-Net: its size, its freedom of image size, brightness and batch, and its start."""

from typing import Any

import pytest
import torch
from torch import nn

from metadip import registry
from metadip.priors import BackProjection, LatentNetwork, ResidualUNet, draw_weights
from metadip.tasks import DenoisingTask

TINY: dict[str, Any] = {"out_channels": 3, "channels": [8, 6, 4]}


def trained(in_channels: int = 3, **arguments: Any) -> ResidualUNet:
    """Return a small network in which nothing is zero."""
    network = ResidualUNet(in_channels, **{**TINY, **arguments})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return network


def test_number_of_weights():
    """27 * 32 in head and tail each; 18 c^2 a block, two but one at last; 8 c c' between scales."""
    with torch.device("meta"):
        network = ResidualUNet(3, out_channels=3, channels=[32, 48, 64, 96])
    blocks = 18 * (2 * (32**2 + 48**2 + 64**2) + 96**2)
    expected = 2 * 9 * 3 * 32 + blocks + 8 * (32 * 48 + 48 * 64 + 64 * 96)
    assert sum(p.numel() for p in network.parameters()) == expected == 520_896


@pytest.mark.parametrize("size", [(25, 129), (32, 37), (5, 5), (1, 1), (16, 16)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_size_and_number_of_channels(size: tuple[int, int], channels: int):
    network = trained(channels, out_channels=channels)
    y = torch.rand(1, channels, *size)
    assert network(y).shape == y.shape
    assert (network(y) - y).abs().max() > 0


def test_more_blocks_add_nothing_at_first_and_reach_further():
    plain, deep = ResidualUNet(3, **TINY), ResidualUNet(3, **TINY, blocks=3)
    deep.load_state_dict(trained().state_dict(), strict=False)
    y = torch.rand(1, 3, 9, 8)
    torch.testing.assert_close(deep(y), trained()(y))
    convolutions = 18 * 2 * (2 * (8**2 + 6**2) + 4**2)
    sizes = [sum(p.numel() for p in network.parameters()) for network in (plain, deep)]
    assert sizes[1] - sizes[0] == convolutions
    assert deep.reach_px > plain.reach_px
    with pytest.raises(ValueError, match="blocks must be at least 1, got 0"):
        ResidualUNet(3, **TINY, blocks=0)


def test_one_scale_needs_no_other():
    network = trained(channels=[8])
    assert network(torch.rand(2, 3, 7, 5)).shape == (2, 3, 7, 5)


@pytest.mark.parametrize("factor", [0.0, 1e-3, 7.0])
def test_scaling_the_input_scales_the_output(factor: float):
    network = trained().double()
    y = torch.randn(1, 3, 18, 21, dtype=torch.float64)
    assert not [name for name, _ in network.named_parameters() if "bias" in name]
    torch.testing.assert_close(network(factor * y), factor * network(y))


def test_images_of_a_batch_do_not_mix_and_nothing_is_remembered():
    network = trained().double()
    y = torch.rand(3, 3, 10, 12, dtype=torch.float64)
    alone = torch.cat([network(image[None]) for image in y])
    torch.testing.assert_close(network(y), alone)
    torch.testing.assert_close(network.eval()(y), network.train()(y), rtol=0, atol=0)
    assert not list(network.buffers())


def test_the_middle_of_a_large_image_does_not_feel_its_border():
    network = trained(channels=[4, 4]).double()
    y = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(
        network(y)[..., 28:36, 28:36], network(y[..., 8:56, 8:56])[..., 20:28, 20:28]
    )


def test_further_channels_are_seen_and_the_first_ones_corrected():
    network = trained(5)
    y = torch.rand(1, 5, 9, 10)
    other = torch.cat([y[:, :3], y[:, 3:].flip(-1)], dim=1)
    assert (network(y) - network(other)).abs().max() > 1e-3
    network.tail.weight.data.zero_()
    assert torch.equal(network(y), y[:, :3])


def test_drawn_weights_change_nothing_and_learn_in_every_layer():
    network = draw_weights(trained(), seed=3)
    x, y = torch.rand(2, 2, 3, 16, 16)
    assert torch.equal(network(y), y)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(3):  # zero layers pass gradients on once they have moved
        optimizer.zero_grad()
        (network(y) - x).square().mean().backward()
        optimizer.step()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def test_drawn_weights_depend_on_the_seed_alone():
    network = trained()
    one, again, other = (draw_weights(network, seed=s).state_dict() for s in (3, 3, 4))
    for name, weight in one.items():
        assert torch.equal(weight, again[name])
        assert not weight.any() or not torch.equal(weight, other[name]), name


@pytest.mark.parametrize("layer", ["head", "encode.0.first", "down.0", "up.1"])
def test_drawn_weights_keep_the_size_of_the_signal(layer: str):
    network = ResidualUNet(16, out_channels=3, channels=[32, 48, 64])
    module = draw_weights(network, seed=0).get_submodule(layer)
    assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    h = torch.randn(1, module.in_channels, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = 2 if layer.endswith("first") else 1  # a ReLU halves the square
    assert module(h)[..., 2:-2, 2:-2].square().mean().item() == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize(
    ("in_channels", "change", "text"),
    [
        (3, {"channels": []}, r"channels must be at least 1, got 3, \[\], 3"),
        (3, {"channels": [8, 0]}, r"channels must be at least 1, got 3, \[8, 0\], 3"),
        (3, {"out_channels": 0}, r"channels must be at least 1, got 3, \[8, 6, 4\], 0"),
        (2, {}, "in_channels must be at least out_channels, .* got 2 and 3"),
        (0, {}, "in_channels must be at least out_channels, .* got 0 and 3"),
    ],
)
def test_bad_arguments_are_refused(in_channels: int, change: dict[str, Any], text: str):
    with pytest.raises(ValueError, match=text):
        ResidualUNet(in_channels, **{**TINY, **change})


def test_description_rebuilds_the_network():
    network = trained(5)
    again = registry.build("architecture", network.description)
    assert isinstance(again, ResidualUNet)
    again.load_state_dict(network.state_dict())
    y = torch.rand(1, 5, 9, 16)
    torch.testing.assert_close(again(y), network(y), rtol=0, atol=0)
    assert again.description == network.description
    with pytest.raises(ValueError, match="'residual_unet' does not take these arguments"):
        registry.build("architecture", {**network.description, "depth": 3})


def test_it_keeps_its_number_of_channels_behind_a_back_projection():
    noisy = DenoisingTask(0.1, clip=False).measure(torch.rand(1, 3, 9, 12), seed=0)
    prior = LatentNetwork(trained(), BackProjection(3), learned=True)
    start = prior.start(noisy)
    assert torch.equal(start.inputs["z"], noisy.y)
    assert len(start.weights) == len(list(prior.network.parameters()))
    with pytest.raises(ValueError, match="takes images of 3 channels, asked for 1"):
        prior.with_channels(1)
