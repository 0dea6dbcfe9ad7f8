"""The skip network: its size, its freedom of image size, and that every argument matters."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metadip import registry
from metadip.priors import SkipUNet, draw_weights

TINY: dict[str, Any] = {"out_channels": 3, "channels": [8, 6], "skip_channels": [4, 2]}


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("skip", "expected"), [(4, 2_217_831), (128, 3_002_627)])
def test_number_of_weights_is_that_of_the_authors_network(skip: int, expected: int):
    """Counted once from the wiring of the deep image prior's published code, 5 scales of 128."""
    with torch.device("meta"):
        network = SkipUNet(32, out_channels=3, channels=[128] * 5, skip_channels=[skip] * 5)
    assert count(network) == expected


@pytest.mark.parametrize("size", [(25, 129), (32, 37), (5, 5), (1, 1), (16, 16)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_size_and_number_of_channels(size: tuple[int, int], channels: int):
    network = SkipUNet(4, **{**TINY, "out_channels": channels})
    image = network(torch.rand(1, 4, *size))
    assert image.shape == (1, channels, *size)
    assert bool(((image > 0) & (image < 1)).all())
    assert size == (1, 1) or image.std() > 0


def test_nothing_is_remembered_between_images():
    network = SkipUNet(4, **TINY)
    z = torch.rand(1, 4, 16, 16)
    first = network(z)
    network(5 + 3 * torch.rand(1, 4, 16, 16))
    assert not list(network.buffers())
    torch.testing.assert_close(network.eval()(z), first, rtol=0, atol=0)
    torch.testing.assert_close(network.train()(z), first, rtol=0, atol=0)


def image_of(z: Tensor, **arguments: Any) -> Tensor:
    network: Tensor = draw_weights(SkipUNet(4, **{**TINY, **arguments}), seed=0)(z)
    return network


@pytest.mark.parametrize(("name", "value"), [("upsampling", "nearest"), ("padding", "zeros")])
def test_options_without_weights_change_the_image(name: str, value: str):
    z = torch.rand(1, 4, 16, 16)
    assert (image_of(z) - image_of(z, **{name: value})).abs().max() > 1e-3


@pytest.mark.parametrize(
    "change", [{"channels": [8, 5]}, {"skip_channels": [4, 0]}, {"out_channels": 1}]
)
def test_widths_change_the_number_of_weights(change: dict[str, Any]):
    assert count(SkipUNet(4, **{**TINY, **change})) != count(SkipUNet(4, **TINY))
    assert count(SkipUNet(5, **TINY)) != count(SkipUNet(4, **TINY))


def test_every_weight_but_the_biases_before_a_normalisation_receives_a_gradient():
    network = SkipUNet(4, **TINY)
    network(torch.rand(1, 4, 16, 16)).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.ndim == 1 or weight.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"channels": []}, r"channels must be at least 1, got 4, \[\], 3"),
        ({"channels": [8, 0]}, r"channels must be at least 1, got 4, \[8, 0\], 3"),
        ({"out_channels": 0}, r"channels must be at least 1, got 4, \[8, 6\], 0"),
        ({"skip_channels": [4]}, r"skip_channels \[4\] does not fit channels \[8, 6\]"),
        ({"skip_channels": [4, -1]}, r"skip_channels \[4, -1\] does not fit"),
        ({"upsampling": "cubic"}, "upsampling must be one of .*bilinear.*, got 'cubic'"),
        ({"padding": "wrap"}, "padding must be one of .*reflect.*, got 'wrap'"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], text: str):
    with pytest.raises(ValueError, match=text):
        SkipUNet(4, **{**TINY, **change})


def test_description_rebuilds_the_network():
    network = SkipUNet(4, **{**TINY, "upsampling": "nearest", "padding": "zeros"})
    again = registry.build("architecture", network.description)
    again.load_state_dict(network.state_dict())
    z = torch.rand(1, 4, 16, 16)
    torch.testing.assert_close(again(z), network(z), rtol=0, atol=0)
    assert again.description == network.description
    assert network.description["type"] == "skip_unet"


def test_description_of_something_else_is_refused():
    with pytest.raises(ValueError, match=r"unknown architecture 'os\.system'"):
        registry.build("architecture", {"type": "os.system"})
    with pytest.raises(ValueError, match="unknown architecture None"):
        registry.build("architecture", {})
    with pytest.raises(ValueError, match=r"'skip_unet' does not take these arguments: .*depth"):
        registry.build("architecture", {**SkipUNet(4, **TINY).description, "depth": 3})


def test_drawn_weights_depend_on_the_seed_alone():
    network = SkipUNet(4, **TINY)
    before = {name: p.clone() for name, p in network.named_parameters()}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one, again, other = (dict(draw_weights(network, seed=s).named_parameters()) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    for name in before:
        assert torch.equal(dict(network.named_parameters())[name], before[name])
        assert torch.equal(one[name], again[name])
        assert not torch.equal(one[name], other[name]) or "weight" not in name or one[name].ndim < 4


def test_a_linear_output_has_both_signs():
    z = torch.rand(1, 4, 16, 16)
    linear = image_of(z, output="linear")
    assert linear.min() < 0
    torch.testing.assert_close(linear.sigmoid(), image_of(z))
    with pytest.raises(ValueError, match="output must be one of"):
        SkipUNet(4, **TINY, output="relu")  # type: ignore[arg-type]
