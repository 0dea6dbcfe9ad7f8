"""The network of DIP-SURE: its layers counted by hand, any size, refusals."""

import pytest
import torch
from torch import nn

from metadip import registry
from metadip.priors import S2SNetwork


def conv(c_in: int, c_out: int) -> int:
    """Return the number of weights of a 3x3 convolution, its bias and its normalisation."""
    return 9 * c_in * c_out + c_out + 2 * c_out


def test_the_layers_of_the_authors() -> None:
    """Encoder 48 x 5 with stride 2 after the first pair, decoder 96, last 64, 32, colours."""
    network = S2SNetwork(3, out_channels=3, encoder=48, decoder=96, scales=5)
    down = conv(3, 48) + conv(48, 48) + 5 * 2 * conv(48, 48)
    up = conv(96, 96) + conv(96, 96) + 3 * (conv(144, 96) + conv(96, 96))
    last = conv(99, 64) + conv(64, 32) + 9 * 32 * 3 + 3
    assert sum(w.numel() for w in network.parameters()) == down + up + last
    strides = [m.stride[0] for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert strides.count(2) == 5


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_any_size_and_every_scale_matters(scales: int) -> None:
    torch.manual_seed(0)
    network = S2SNetwork(2, out_channels=1, encoder=4, decoder=6, scales=scales)
    z = torch.rand(1, 2, 13, 9)
    x = network(z)
    assert x.shape == (1, 1, 13, 9)
    assert 0 < x.min() < x.max() < 1
    x.sum().backward()
    assert all(w.grad is not None for w in network.parameters())
    twin = registry.build("network", network.description)
    twin.load_state_dict(network.state_dict())
    assert torch.equal(twin(z), x)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="scales must be at least 1, got 3, 3, 4, 4 and 0"):
        S2SNetwork(3, out_channels=3, encoder=4, decoder=4, scales=0)
