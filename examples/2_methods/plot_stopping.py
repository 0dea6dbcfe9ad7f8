"""
Stopping: a fit that ends before it learns the noise
====================================================

A deep image prior learns the picture first and the noise later. Without the truth, a rule must
say when to stop.
"""

import deepinv as dinv
import matplotlib.pyplot as plt

import metadip
from metadip.callbacks import ESEMV, DiscrepancyPrinciple, OraclePSNR
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db
from metadip.priors import Latent, LatentNetwork, SkipUNet
from metadip.tasks import DenoisingTask

picture = read_image(sample_picture("coffee.png"))
x = resize(centre_crop(picture, 400), 64)[None]
problem = DenoisingTask(50 / 255, clip=False).measure(x, seed=0)

# %%
# A small network, so that this page builds quickly; ``"skip_unet_small"`` and ``"skip_unet"`` are
# those to use. Without a rule, the fit goes on to the end.

network = LatentNetwork(
    SkipUNet(16, out_channels=3, channels=[24, 24, 24], skip_channels=[4, 4, 4]),
    Latent(16, size_px=64, n_wavelengths=0),
)
steps = 500
plain = metadip.DIP(network, steps=steps, averaging=0.0)
to_the_end = plain.reconstruct([problem], hooks=[OraclePSNR()])[0]

# %%
# ES-EMV watches the variance of the reconstructions and needs to know nothing; its patience is
# 1000 steps in its authors' code. The discrepancy principle needs the noise level, which the
# problem's operator carries: it stops when the residual is as large as the noise.

rules = {
    "ES-EMV": ESEMV(0.1, patience=120, min_start=60),
    "discrepancy principle": DiscrepancyPrinciple(tau=1.0),
}
stopped = {
    name: metadip.DIP(network, steps=steps, stopping=rule).reconstruct([problem])[0]
    for name, rule in rules.items()
}
for name, result in stopped.items():
    print(f"{name}: stopped at {result.stop_step}, {psnr_db(result.x_hat, x).item():.1f} dB")

# %%
# The PSNR over the steps, which only the truth can tell, and where the rules ended the fit:

figure, axis = plt.subplots(figsize=(7, 3))
axis.plot(to_the_end.curves["psnr_raw_db"])
for number, (name, result) in enumerate(stopped.items(), 1):
    axis.axvline(result.stop_step, color=f"C{number}", linestyle="--", label=name)
axis.set_xlabel("step")
axis.set_ylabel("PSNR (dB)")
axis.legend()
figure.tight_layout()

# %%
# What the fits return:

shown = {"noisy": problem.y, "500 steps": to_the_end.x_hat}
shown |= {name: result.x_hat for name, result in stopped.items()}
dinv.utils.plot(shown, rescale_mode="clip", figsize=(12, 3))

# %%
# On the command line: ``python infer.py method=dip callbacks=es_emv measurement=noisy.png``.
# Other rules, and how close they come to the best step: :doc:`/stopping`.
