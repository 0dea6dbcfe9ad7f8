"""The latent z of a prior: noise and Fourier features of the pixel position."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from metadip.registry import registered
from metadip.types import InverseProblem


@registered("noise")
class Latent(nn.Module):
    """Make the network input for any image size: uniform noise with Fourier features appended.

    Model:
        z = [noise; sin(2 pi i / w_j); cos(2 pi i / w_j); sin(2 pi k / w_j); cos(2 pi k / w_j)] with
        i, k the row and column in pixels and J wavelengths w_j spaced evenly in the logarithm.
        Because wavelengths are in pixels, weights learned at one size see the same input at
        another. The noise is one stored square that is cropped for smaller images and repeated for
        larger ones; it is fixed unless its ``requires_grad`` is set: meta-training then learns it.
    Shape:
        ``forward(height, width)`` -> (1, noise_channels + 4 J, height, width).
    Args:
        noise_channels: channels of noise, at least 1.
        noise_scale: noise is U(0, noise_scale); 0.1 in the deep image prior.
        size_px: side of the stored noise.
        n_wavelengths: J, 0 for noise alone.
        min_wavelength_px: shortest wavelength, above 2 px, the Nyquist limit.
        max_wavelength_px: longest wavelength.
        seed: fixes the noise.
    Raises:
        ValueError: If ``noise_channels`` or ``size_px`` is below 1, or the wavelengths do not
            satisfy 2 < min <= max.
    References:
        Zhang et al. (2022), MetaDIP, arXiv:2209.08452 (a Fourier feature map appended to fixed
        noise). Shu et al. (2022), PIP (8 log-spaced frequencies, sine and cosine on both axes).
    Example:
        >>> Latent(4, size_px=8, n_wavelengths=2, seed=0)(5, 9).shape
        torch.Size([1, 12, 5, 9])
    """

    noise: nn.Parameter
    description: dict[str, Any]

    def __init__(
        self,
        noise_channels: int,
        *,
        size_px: int,
        n_wavelengths: int,
        noise_scale: float = 0.1,
        min_wavelength_px: float = 4.0,
        max_wavelength_px: float = 512.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if noise_channels < 1 or size_px < 1:
            raise ValueError(
                f"noise_channels and size_px must be at least 1, got {noise_channels} and {size_px}"
            )
        if n_wavelengths and not 2 < min_wavelength_px <= max_wavelength_px:
            raise ValueError(
                f"need 2 < min <= max wavelength, got {min_wavelength_px} and {max_wavelength_px}"
            )
        self.n_wavelengths, self.noise_scale = n_wavelengths, noise_scale
        self.channels = noise_channels + 4 * n_wavelengths
        noise = torch.empty(1, noise_channels, size_px, size_px)
        self.noise = nn.Parameter(noise, requires_grad=False)
        low, high = math.log2(min_wavelength_px), math.log2(max_wavelength_px)
        self.wavelengths_px = torch.logspace(
            low, high, n_wavelengths, base=2.0, dtype=torch.float64
        )
        self.redraw(seed)

    def redraw(self, seed: int, size_px: int | None = None) -> None:
        """Replace the stored noise by that of another seed, optionally with another size."""
        size = self.noise.shape[-1] if size_px is None else size_px
        generator = torch.Generator().manual_seed(seed)
        noise = (
            torch.rand((1, self.noise.shape[1], size, size), generator=generator) * self.noise_scale
        )
        self.noise.data = noise.to(self.noise)

    def of(self, problem: InverseProblem) -> Tensor:
        """Return z (1, Cz, H, W) for the image of a problem."""
        z: Tensor = self(*problem.image_shape[1:])
        return z

    def forward(self, height: int, width: int) -> Tensor:
        """Return z for an image of ``height`` x ``width`` pixels."""
        size = self.noise.shape[-1]
        repeats = (1, 1, -(-height // size), -(-width // size))
        noise = self.noise.repeat(repeats)[..., :height, :width]
        if not self.n_wavelengths:
            return noise
        rows = self._waves(height)[:, :, None].expand(-1, -1, width)
        columns = self._waves(width)[:, None, :].expand(-1, height, -1)
        return torch.cat([noise, rows[None], columns[None]], dim=1)

    def _waves(self, length: int) -> Tensor:
        """Return sines and cosines along one axis, (2 J, length)."""
        phase = (
            2 * math.pi * torch.arange(length, dtype=torch.float64) / self.wavelengths_px[:, None]
        )
        return torch.cat([phase.sin(), phase.cos()]).to(self.noise)
