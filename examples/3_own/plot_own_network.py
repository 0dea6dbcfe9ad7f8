"""
Your own network
================

Any ``torch.nn.Module`` can be the deep image prior: it needs ``in_channels`` and
``out_channels``, and turns a latent (1, in_channels, H, W) into an image (1, out_channels, H, W).
"""

import deepinv as dinv
import torch
from torch import nn

from metadip import FitReconstructor
from metadip.callbacks import LatentJitter, OutputEMA
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.fitting import TV, Adam, Sum, mse
from metadip.metrics import psnr_db
from metadip.priors import Latent, LatentNetwork


class Plain(nn.Module):
    """A few convolutions, without skip connections or scales."""

    def __init__(self, in_channels: int, out_channels: int, width: int = 32) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        layers: list[nn.Module] = []
        for channels in (in_channels, width, width, width):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, out_channels, 1), nn.Sigmoid())

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return an image (B, out_channels, H, W)."""
        return self.layers(z)


# %%
# ``LatentNetwork`` joins it with its latent: noise, and waves that tell it where a pixel lies.
# Weights and noise are drawn anew for each image, from its seed.

prior = LatentNetwork(Plain(32, 3), Latent(16, size_px=64, n_wavelengths=4))

# %%
# What is minimised, by which rule, for how many steps, and what else happens at each step:

dip = FitReconstructor(
    prior,
    objective=Sum(mse, {"tv": TV(weight=0.02)}),
    optimizer=Adam(lr=0.005),
    steps=400,
    callbacks=[LatentJitter(1 / 30), OutputEMA(0.98, bias_correction=True)],
)

x = resize(centre_crop(read_image(sample_picture("coffee.png")), 400), 64)[None]
physics = dinv.physics.Denoising(dinv.physics.GaussianNoise(25 / 255))
y = physics(x, seed=0)
x_hat = dip(y, physics)

dinv.utils.plot(
    {
        "truth": x,
        f"noisy, {psnr_db(y, x).item():.1f} dB": y,
        f"plain network, {psnr_db(x_hat, x).item():.1f} dB": x_hat,
    },
    rescale_mode="clip",
    figsize=(9, 3),
)

# %%
# To meta-train such a network and to keep its weights in a file, it also needs a name in the
# registry and a configuration: :doc:`/own`.
