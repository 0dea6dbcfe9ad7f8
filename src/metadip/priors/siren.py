"""A network with sine activations from pixel position to colour (SIREN)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from metadip.registry import registered

MID_GREY = 0.5  # an untrained output is near 0, image values are around this


class _Sine(nn.Linear):
    """A linear layer whose weights are drawn for sines: U(-bound, bound)."""

    def __init__(self, c_in: int, c_out: int, *, bound: float) -> None:
        self.bound = bound  # before the layer draws its weights
        super().__init__(c_in, c_out)

    def reset_parameters(self) -> None:
        """Draw the weights; the bias as in ``nn.Linear``."""
        nn.init.uniform_(self.weight, -self.bound, self.bound)
        bias_bound = 1 / math.sqrt(self.in_features)
        nn.init.uniform_(self.bias, -bias_bound, bias_bound)


@registered("siren")
class Siren(nn.Module):
    """Map each pixel's input to its colour by a multilayer perceptron with sine activations.

    Model:
        h_1 = sin(omega (W_1 z + b_1)), h_{i+1} = sin(omega (W_i h_i + b_i)), x = W h_L + b + 1/2.
        W_1 ~ U(+-1 / in), the others U(+-sqrt(6 / in) / omega). The output is not bounded.
    Shape:
        (B, in_channels, H, W) -> (B, out_channels, H, W), each pixel independently.
    Args:
        in_channels: of the input, 2 for ``Coordinates``.
        out_channels: channels of the image, 3 for colour.
        width: units of every hidden layer, at least 1.
        n_layers: L, number of hidden layers, at least 1.
        omega: highest frequency of the first layer, in radians per unit of the input, above 0.
    Raises:
        ValueError: If an argument is outside the range given here.
    References:
        Sitzmann et al. (2020), Implicit Neural Representations with Periodic Activation Functions,
        arXiv:2006.09661. Tancik et al. (2021), Learned Initializations, arXiv:2012.02189 (the
        offset 1/2; 5 layers of 256).
    Example:
        >>> Siren(2, out_channels=3, width=8, n_layers=2, omega=30.0)(torch.zeros(1, 2, 5, 7)).shape
        torch.Size([1, 3, 5, 7])
    """

    description: dict[str, Any]

    def __init__(
        self, in_channels: int, *, out_channels: int, width: int, n_layers: int, omega: float
    ) -> None:
        super().__init__()
        if min(in_channels, out_channels, width, n_layers) < 1 or not omega > 0:
            raise ValueError(
                "in_channels, out_channels, width and n_layers must be at least 1 and omega above "
                f"0, got {in_channels}, {out_channels}, {width}, {n_layers} and {omega}"
            )
        self.in_channels, self.out_channels, self.omega = in_channels, out_channels, omega
        bound = math.sqrt(6 / width) / omega
        first = _Sine(in_channels, width, bound=1 / in_channels)
        others = [_Sine(width, width, bound=bound) for _ in range(n_layers - 1)]
        self.hidden = nn.ModuleList([first, *others])
        self.head = _Sine(width, out_channels, bound=bound)

    def forward(self, z: Tensor) -> Tensor:
        """Return the image of input ``z``."""
        h = z.flatten(2).transpose(1, 2)  # (B, HW, C)
        for layer in self.hidden:
            h = torch.sin(self.omega * layer(h))
        h = self.head(h) + MID_GREY
        x: Tensor = h.transpose(1, 2).unflatten(2, z.shape[-2:])
        return x
