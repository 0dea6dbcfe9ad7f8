"""Large images in tiles: the same result without seams, never where a gradient is needed."""

import pytest
import torch
from deepinv.physics import Denoising, GaussianNoise
from torch import nn

from metadip.checkpoint import load_prior
from metadip.fitting import Execution
from metadip.priors import BackProjection, LatentNetwork, ResidualUNet
from metadip.priors.tiling import in_tiles, tiles_of
from metadip.types import InverseProblem
from tests.methods.tiny_prediction import tiny_method


def network_of(channels: list[int]) -> ResidualUNet:
    """Return a network in float64 all of whose layers do something."""
    network = ResidualUNet(3, out_channels=3, channels=channels).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            fan_in = weight[0].numel()
            weight.copy_(torch.randn(weight.shape, generator=generator) / fan_in**0.5)
    return network


def image(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, height, width, generator=generator).double()


@pytest.mark.parametrize("channels", [[4], [4, 4], [4, 4, 4], [4, 4, 4, 4]])
def test_what_a_pixel_sees(channels: list[int]):
    """Against the gradient of single pixels of the output."""
    network = network_of(channels)
    side = 2 * network.reach_px + 24
    centre, seen = side // 2, 0
    for shift in range(network.multiple_px):  # pixels lie differently on the coarse grids
        z = image(side, side).requires_grad_()
        (grad,) = torch.autograd.grad(network(z)[0, 0, centre, centre + shift], z)
        columns = grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
        seen = max(seen, int((columns - centre - shift).abs().max()))
    assert seen <= network.reach_px <= seen + 3


@pytest.mark.parametrize("size", [(97, 130), (40, 200), (64, 64)])
@pytest.mark.parametrize("tile_px", [32, 50])
def test_tiles_leave_no_seams(size: tuple[int, int], tile_px: int):
    network, z = network_of([4, 4, 4]), image(*size)
    with torch.no_grad():
        whole = network(z)
        with tiles_of(tile_px):
            tiled = in_tiles(network, z)
    assert (whole - z).abs().max() > 0.1
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-12)


def test_less_overlap_would_leave_seams(monkeypatch: pytest.MonkeyPatch):
    network, z = network_of([4, 4, 4]), image(96, 96)
    monkeypatch.setattr(ResidualUNet, "reach_px", 4)
    with torch.no_grad(), tiles_of(48):
        assert (in_tiles(network, z) - network(z)).abs().max() > 1e-3


class Count(nn.Module):
    """Pass the input on, and keep the sizes that came."""

    in_channels = out_channels = 3
    reach_px, multiple_px = 4, 4

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        self.sizes.append(tuple(z.shape[-2:]))
        return self.gain * z


def test_not_where_a_gradient_is_needed_or_tiles_are_off():
    network, z = Count(), torch.rand(1, 3, 20, 20)
    with tiles_of(12):
        in_tiles(network, z)  # as in training
        with torch.no_grad():
            in_tiles(network, z[..., :12, :12])
            in_tiles(network, z)
    with torch.no_grad(), tiles_of(0):
        in_tiles(network, z)
    tiles = [(16, 16), (16, 12), (12, 16), (12, 12)]
    assert network.sizes == [(20, 20), (12, 12), *tiles, (20, 20)]


@pytest.mark.parametrize("stacked", [False, True])
def test_a_fit_without_steps_is_tiled(stacked: bool):
    network = network_of([4, 4]).float()
    prior = LatentNetwork(network, BackProjection(3), learned=True)
    y = torch.cat([image(48, 64), image(48, 64).flip(3)]).float()
    physics = Denoising(GaussianNoise(0.1))
    calls: list[int] = []
    network.head.register_forward_hook(lambda *_: calls.append(1))
    found = [
        tiny_method(prior=prior, steps=0, execution=Execution(tile_px=tile_px, stacked=stacked))(
            y, physics
        )
        for tile_px in (16, 0)
    ]
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)
    assert len(calls) == (12 + 1) * (1 if stacked else 2)


def test_bad_tiles():
    with pytest.raises(ValueError, match="tile_px must be at least 0, got -1"):
        Execution(tile_px=-1)


@pytest.mark.slow  # 1024 px
def test_the_released_denoiser_at_1024_px():
    prior = load_prior("photo").prior
    z = image(1024, 1024).float()
    problem = InverseProblem(z, Denoising(GaussianNoise(0.1)), (3, 1024, 1024))
    with torch.no_grad():
        inputs = dict(prior.start(problem).inputs)
        images = []
        for tile_px in (0, 256):
            with tiles_of(tile_px):
                images.append(prior((1024, 1024), **inputs).x)
    assert (images[0] - z).abs().max() > 0.1
    torch.testing.assert_close(*images, rtol=0, atol=1e-5)
