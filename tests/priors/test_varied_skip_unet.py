"""The variants of the skip network: any size, every argument counts, and the smooth input."""

from typing import Any

import pytest
import torch
from deepinv.physics import Denoising
from torch import nn

from metadip import config, registry
from metadip.priors import Meshgrid, SkipUNet, VariedSkipUNet, draw_weights
from metadip.types import InverseProblem

TINY: dict[str, Any] = {
    "out_channels": 3, "channels": [8, 6], "skip_channels": [4, 0], "upsampling": "bilinear",
    "down_kernel_px": 3, "downsampling": "stride", "pointwise": True,
}  # fmt: skip


def image_of(z: torch.Tensor, **changes: Any) -> torch.Tensor:
    network: torch.Tensor = draw_weights(VariedSkipUNet(4, **{**TINY, **changes}), seed=0)(z)
    return network


def test_without_variation_it_is_the_skip_network():
    z, network = torch.rand(1, 4, 20, 24), VariedSkipUNet(4, **TINY)
    plain = SkipUNet(4, out_channels=3, channels=[8, 6], skip_channels=[4, 0])
    plain.load_state_dict(network.state_dict())
    assert torch.equal(plain(z), network(z))


@pytest.mark.parametrize("size", [(25, 129), (1, 1), (16, 16)])
def test_any_size(size: tuple[int, int]):
    image = image_of(
        torch.rand(1, 4, *size), down_kernel_px=5, downsampling="average", pointwise=False
    )
    assert image.shape == (1, 3, *size)
    assert bool(((image > 0) & (image < 1)).all())


@pytest.mark.parametrize(
    "change",
    [
        {"upsampling": "nearest"}, {"down_kernel_px": 5}, {"downsampling": "average"},
        {"pointwise": False}, {"skip_channels": [0, 0]},
    ],
)  # fmt: skip
def test_every_argument_changes_the_image(change: dict[str, Any]):
    z = torch.rand(1, 4, 16, 16)
    assert (image_of(z) - image_of(z, **change)).abs().max() > 1e-3


def test_the_description_builds_it_again():
    network = VariedSkipUNet(4, **TINY)
    again = registry.build("network", network.description)
    assert isinstance(again, VariedSkipUNet)
    assert again.description == network.description


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"down_kernel_px": 4}, "down_kernel_px must be odd and at least 1, got 4"),
        ({"down_kernel_px": -1}, "down_kernel_px must be odd and at least 1, got -1"),
        ({"downsampling": "max"}, "downsampling must be one of"),
        ({"upsampling": "cubic"}, "upsampling must be one of"),
        ({"skip_channels": [4]}, "does not fit channels"),
    ],
)
def test_refuses(change: dict[str, Any], text: str):
    with pytest.raises(ValueError, match=text):
        VariedSkipUNet(4, **{**TINY, **change})


def test_a_meshgrid_goes_from_corner_to_corner():
    problem = InverseProblem(torch.rand(1, 3, 4, 6), Denoising(), (3, 4, 6))
    z = Meshgrid().of(problem)
    assert z.shape == (1, 2, 4, 6)
    torch.testing.assert_close(z[0, 0, 2], torch.linspace(0, 1, 6))
    torch.testing.assert_close(z[0, 1, :, 3], torch.linspace(0, 1, 4))


@pytest.mark.parametrize("preset", ["dip_text", "dip_hole", "dip_jpeg", "dip_large_hole"])
def test_presets_make_images(preset: str):
    prior = config.build(config.compose("infer", ["method=dip", f"prior={preset}"]).prior)
    problem = InverseProblem(torch.rand(1, 3, 16, 16), Denoising(), (3, 16, 16))
    start = prior.start(problem)
    x = prior.forward((16, 16), **start.inputs).x
    assert x.shape == (1, 3, 16, 16)
    assert isinstance(prior.network, nn.Module)
