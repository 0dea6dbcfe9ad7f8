"""The spectral-control decoder: its bound, a forward pass written anew, its enlargements."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metadip import registry
from metadip.priors import SpectralDecoder
from metadip.priors.spectral_decoder import bounded, enlarged
from tests.fitting.tiny import image


def network(upsampling: str = "bilinear", bound: float = 0.5) -> SpectralDecoder:
    torch.manual_seed(0)
    return SpectralDecoder(4, out_channels=2, width=5, bound=bound, upsampling=upsampling).double()  # type: ignore[arg-type]


def test_singular_values_stay_below_the_bound() -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    largest = torch.linalg.svdvals(weight.flatten(1))[0]
    held = bounded(weight, 1.5)
    torch.testing.assert_close(torch.linalg.svdvals(held.flatten(1))[0], torch.tensor(1.5).double())
    torch.testing.assert_close(held, weight * (1.5 / largest))
    small = weight / largest
    torch.testing.assert_close(bounded(small, 1.5), small)
    assert torch.autograd.gradcheck(lambda w: bounded(w, 1.5), [weight.requires_grad_()])


def layer_by_hand(x: Tensor, weight: Tensor, offset: Tensor, bound: float) -> Tensor:
    norm = torch.linalg.svdvals(weight.reshape(len(weight), -1))[0]
    x = F.conv2d(x, weight / max(1.0, float(norm) / bound), padding=1)
    return F.leaky_relu(x - x.mean((2, 3), keepdim=True) + offset.reshape(1, -1, 1, 1), 0.01)


def test_the_formula() -> None:
    ours = network(bound=0.9)
    weights = [w.detach() for w in ours.parameters()]
    z = torch.rand(1, 4, 2, 3, generator=torch.Generator().manual_seed(1)).double()
    *layers, head, bias = weights
    pairs = [(layers[i], layers[i + 1]) for i in range(0, len(layers), 2)]
    assert len(pairs) == 12
    x = z
    for number, pair in enumerate(pairs):
        if number >= 2 and number % 2 == 0:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = layer_by_hand(x, *pair, 0.9)
    torch.testing.assert_close(ours(z), torch.sigmoid(F.conv2d(x, head, bias)))
    assert ours(z).shape == (1, 2, 64, 96)


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_enlargement_is_a_transposed_convolution_that_keeps_the_mean(sigma: float) -> None:
    x = image(0, (2, 6, 7)).double()
    large = enlarged(x, sigma)
    assert large.shape == (1, 2, 12, 14)
    inside = enlarged(torch.ones(1, 1, 8, 8).double(), sigma)[..., 4:12, 4:12]
    torch.testing.assert_close(inside.mean(), torch.tensor(1.0).double())
    i, j = 5, 8  # by hand: sum over cells of x times the kernel at twice their distance
    weights = [[torch.exp(torch.tensor(-(((i - 2 * a) / 2) ** 2 + ((j - 2 * b) / 2) ** 2)
                / (2 * sigma**2)).double()) if max(abs(i - 2 * a), abs(j - 2 * b)) <= 2 else 0.0
                for b in range(7)] for a in range(6)]  # fmt: skip
    line = torch.exp(-((torch.arange(-2, 3).double() / 2) ** 2) / (2 * sigma**2)).sum()
    expected = (x[0, 1] * torch.tensor(weights).double()).sum() * 4 / line**2
    torch.testing.assert_close(large[0, 1, i, j], expected)


def test_a_description_rebuilds_it_and_arguments_matter() -> None:
    ours, z = network("gaussian", bound=1.4), torch.rand(1, 4, 2, 2).double()
    twin = registry.build("network", ours.description).double()
    twin.load_state_dict(ours.state_dict())
    torch.testing.assert_close(twin(z), ours(z))
    for other in (network("bilinear", bound=1.4), network("gaussian", bound=0.7)):
        other.load_state_dict(copy.deepcopy(ours.state_dict()))
        assert not torch.allclose(other(z), ours(z))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="and bound > 0, got 4, 1, 8 and 0"):
        SpectralDecoder(4, out_channels=1, width=8, bound=0, upsampling="bilinear")
    with pytest.raises(ValueError, match="upsampling must be one of"):
        SpectralDecoder(4, out_channels=1, width=8, bound=1, upsampling="nearest")  # type: ignore[arg-type]
