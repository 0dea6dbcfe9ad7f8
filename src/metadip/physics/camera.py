"""Noise as a camera makes it: counted in linear light, seen after processing."""

from __future__ import annotations

import torch
from deepinv.physics import NoiseModel
from torch import Generator, Tensor

GAMMA = 2.2
WHITE_BALANCE = (2.0, 1.0, 1.6)  # gains of red, green and blue of a daylight scene
LEVELS = 255


class CameraNoise(NoiseModel):
    """Poisson-Gaussian noise of the sensor, behind white balance, gamma and 8 bits.

    Model:
        With the linear light r = x^2.2 / gain of each channel, the sensor reads
        r' = r + sqrt(shot r + read^2) N(0, 1), and y = (gain r')^(1/2.2), clipped to [0, 1] and
        rounded to 8 bits. Images that do not have three channels have gains of 1. The noise
        depends on the signal and the channel, and is clipped at black and white.
    Args:
        shot: variance per linear intensity, at least 0.
        read_std: standard deviation at black, in linear intensity, at least 0.
    References:
        Foi et al. (2008), Practical Poissonian-Gaussian Noise Modeling.
        Abdelhamed et al. (2020), NTIRE 2020 Challenge on Real Image Denoising, arXiv:2005.04117,
        whose data this stands in for.
    """

    shot: Tensor
    read_std: Tensor

    def __init__(self, shot: float, read_std: float) -> None:
        super().__init__()
        self.register_buffer("shot", torch.tensor(float(shot)))
        self.register_buffer("read_std", torch.tensor(float(read_std)))

    def forward(self, x: Tensor, **_: object) -> Tensor:
        """Return ``x`` with noise from the global random generator."""
        return self.develop(x, torch.randn_like(x))

    def drawn(self, x: Tensor, generator: Generator) -> Tensor:
        """Return ``x`` with noise from a generator on the CPU."""
        return self.develop(x, torch.randn(x.shape, generator=generator).to(x))

    def develop(self, x: Tensor, white: Tensor) -> Tensor:
        """Return the picture of ``x`` with given white noise of variance 1."""
        gains = x.new_tensor(WHITE_BALANCE if x.shape[-3] == 3 else (1.0,)).view(-1, 1, 1)
        light = x.clamp(0, 1) ** GAMMA / gains
        spread = (self.shot * light + self.read_std.square()).sqrt()
        picture = (gains * (light + spread * white)).clamp(0, 1) ** (1 / GAMMA)
        return (LEVELS * picture).round() / LEVELS
