"""
Beside deepinv: one measurement, several models
===============================================

``metadip.load`` and ``metadip.DIP`` give a deepinv ``Reconstructor``, called as
``model(y, physics)`` like every other model of `deepinv <https://deepinv.github.io>`_.
"""

import deepinv as dinv
import torch

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db

picture = read_image(sample_picture("chelsea.png"))
x = resize(centre_crop(picture, 300), 64)[None]
mask = (torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0)) < 0.5).float()
physics = dinv.physics.Inpainting((3, 64, 64), mask=mask)
y = physics(x)

# %%
# A learned start, a vanilla deep image prior, and plug-and-play with total variation:

variation = dinv.optim.PnP(denoiser=dinv.models.TVDenoiser(n_it_max=50))
models = {
    "metadip.load()": metadip.load(),
    "metadip.DIP": metadip.DIP("skip_unet_small", steps=150),
    "deepinv PnP": dinv.optim.PGD(
        data_fidelity=dinv.optim.L2(),
        prior=variation,
        stepsize=1.0,
        sigma_denoiser=0.01,
        max_iter=100,
    ),
}
shown = {"truth": x, "observed": y}
for name, model in models.items():
    x_hat = model(y, physics)
    shown[f"{name}, {psnr_db(x_hat, x).item():.1f} dB"] = x_hat
dinv.utils.plot(shown, rescale_mode="clip", figsize=(15, 3))

# %%
# DIP had 150 steps here, few for it. What these objects can do, and figures: :doc:`/deepinv`.
