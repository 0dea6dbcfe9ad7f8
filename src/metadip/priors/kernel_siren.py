"""A blur kernel of any size from a network with sine activations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from metadip.priors.siren import Siren
from metadip.registry import registered
from metadip.types import InverseProblem


@registered("kernel_siren")
class KernelSiren(nn.Module):
    """Make a blur kernel from the positions of its pixels.

    Model:
        k = softmax over all pixels of s(i, j) - 2 log(1 + r^2 / start_px^2), with a sine network s
        of the position, i and j from -1 to 1, and the distance r from the middle in pixels: no
        value of k is negative, and they sum to 1. s is small at first, so that the kernel starts
        as a bell, whatever the size of the grid. From a flat kernel, as in the paper, fits of
        small images ended at kernels that are too large, with images of too much contrast.
    Shape:
        (B, 2, h, w) -> (B, 1, h, w). The size is that by which y is smaller than the image, plus 1.
    Args:
        width: units of every hidden layer, at least 1.
        n_layers: hidden layers, at least 1.
        omega: highest frequency of the first layer, radians per half side, above 0.
        start_px: distance within which half of the mass of the first kernel lies, above 0; None
            starts with a flat kernel.
    Raises:
        ValueError: If an argument is out of range.
    References:
        Zhuang et al. (2022), Blind Image Deblurring with Unknown Kernel Size and Substantial Noise,
        arXiv:2208.09483. Sitzmann et al. (2020), SIREN, arXiv:2006.09661.
    Example:
        >>> k = KernelSiren(width=8, n_layers=2, omega=30.0)(torch.rand(2, 2, 5, 7))
        >>> k.shape, torch.allclose(k.sum((1, 2, 3)), torch.ones(2))
        (torch.Size([2, 1, 5, 7]), True)
    """

    description: dict[str, Any]

    def __init__(
        self,
        *,
        width: int = 64,
        n_layers: int = 3,
        omega: float = 30.0,
        start_px: float | None = 5.0,
    ) -> None:
        super().__init__()
        if start_px is not None and not start_px > 0:
            raise ValueError(f"start_px must be above 0, or None, got {start_px}")
        self.start_px = start_px
        self.layers = Siren(2, out_channels=1, width=width, n_layers=n_layers, omega=omega)

    def sized(self, size_px: int) -> KernelSiren:
        """Return itself: the size follows from the problem."""
        return self

    def input_of(self, problem: InverseProblem) -> Tensor:
        """See ``KernelNetwork``; positions (1, 2, h, w).

        Raises:
            ValueError: If y is not an image, or larger than the unknown one.
        """
        y, weight = problem.y, next(self.parameters())
        size = [n - m + 1 for n, m in zip(problem.image_shape[1:], y.shape[-2:], strict=True)]
        if y.ndim != 4 or min(size) < 1:
            raise ValueError(
                f"the kernel's size follows from an image smaller than {problem.image_shape}, and "
                f"y is {tuple(y.shape[1:])}"
            )
        rows, columns = ((2 * torch.arange(n) + 1 - n) / max(1, max(size) - 1) for n in size)
        return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None].to(weight)

    def forward(self, z: Tensor) -> Tensor:
        """Return kernels."""
        logits = self.layers(z)
        if self.start_px is not None:
            reach = max(z.shape[-2:]) / 2 - 0.5  # pixels from the middle to the last
            r_squared = (reach * z).square().sum(1, keepdim=True)
            logits = logits - 2 * torch.log1p(r_squared / self.start_px**2)
        k: Tensor = logits.flatten(1).softmax(dim=1)
        return k.view(-1, 1, *z.shape[-2:])
