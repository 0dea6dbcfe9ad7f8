"""Diffraction into the far field, where a detector counts light and its phase is lost."""

from __future__ import annotations

import torch
from deepinv.physics import Physics
from torch import Tensor

from metadip.physics.operators import ImageShape

COMPLEX = 2  # channels of a complex object: real and imaginary part


class FarField(Physics):
    """Measure the amplitudes of the Fourier transform of an object, y = m |F(pad(x))|.

    Model:
        F is the orthonormal transform on the detector's grid, on which the object lies in a corner,
        surrounded by zeros; its zero frequency is in the middle of y. Where the detector is more
        than twice as large as the object on each axis, y determines nearly every object up to a
        global phase, a shift, and conjugation with a turn by 180 degrees.
    Shape:
        ``A``: (B, C, H, W) -> (B, 1, M, N). Two channels are real and imaginary part, one is a real
        object.
    Args:
        image_shape: (C, H, W) with C = 1 or 2.
        mask: m (M, N), 1 where the detector measures, 0 behind a beamstop.
    Raises:
        ValueError: If the object has another number of channels, or does not fit the detector.
    """

    mask: Tensor

    def __init__(self, image_shape: ImageShape, *, mask: Tensor) -> None:
        super().__init__()
        channels, height, width = image_shape
        if channels not in (1, COMPLEX) or height > mask.shape[0] or width > mask.shape[1]:
            raise ValueError(
                f"an object of {image_shape} needs 1 or 2 channels, and a detector larger than "
                f"{tuple(mask.shape)}"
            )
        self.img_size = tuple(image_shape)
        self.register_buffer("mask", mask)

    def A(self, x: Tensor, **_: object) -> Tensor:
        """Return the amplitudes."""
        size = (int(self.mask.shape[0]), int(self.mask.shape[1]))
        spectrum = torch.fft.fft2(as_complex(x), s=size, norm="ortho")
        amplitude = torch.fft.fftshift(spectrum.abs(), dim=(-2, -1))
        y: Tensor = (self.mask * amplitude)[:, None]
        return y


def as_complex(x: Tensor) -> Tensor:
    """Return an object (B, C, H, W) of one or two channels as complex numbers (B, H, W)."""
    if x.shape[1] == 1:
        return torch.complex(x[:, 0], torch.zeros_like(x[:, 0]))
    return torch.complex(x[:, 0], x[:, 1])


def as_parts(u: Tensor, channels: int) -> Tensor:
    """Return complex numbers (B, H, W) as real and imaginary part, or as the real part alone."""
    return torch.stack([u.real, u.imag], dim=1) if channels == COMPLEX else u.real[:, None]


def magnitude_of(x: Tensor) -> Tensor:
    """Return the magnitude (B, 1, H, W) of objects (B, C, H, W)."""
    return x.square().sum(1, keepdim=True).sqrt()
