"""
Blind deblurring: image and kernel at once
==========================================

A shaken camera whose motion nobody recorded: the image and the blur kernel are both unknown.
"""

import deepinv as dinv

from metadip import config, runs
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.methods import RichardsonLucy
from metadip.metrics import psnr_db
from metadip.tasks import BlindDeblurringTask

picture = read_image(sample_picture("coffee.png"), channels=1)
x = resize(centre_crop(picture, 400), 64)[None]

task = BlindDeblurringTask("motion", kernel_px=9, kernel_seed=0, noise_std=0.01, known=False)
problem = task.measure(x, seed=0)

# %%
# Blind Richardson-Lucy is quick. *Double DIP* fits one network to the image and one to the
# kernel; its presets are those of ``infer.py method=double_dip``, here with a small network and
# few steps so that this page builds quickly. Its authors take 5000.

settings = [
    "task=blind_deblur",
    "method=double_dip",
    "method.steps=400",
    "method.kernel_px=9",
    "prior.image.network.channels=[16,16,16]",
    "prior.image.network.skip_channels=[16,16,16]",
]
double_dip = runs.build_method(config.compose("infer", settings))
fitted = double_dip.reconstruct([problem])[0]
richardson_lucy = RichardsonLucy(kernel_px=9, iterations=30).reconstruct([problem])[0]

# %%
# The kernel that was found is ``fitted.estimate.operator["filter"]``. Image and kernel are known
# up to a common shift, which ``problem.read`` removes.

kernel = fitted.estimate.operator["filter"]
shown = {"truth": problem.x, "blurred": problem.y}
for name, result in {"Richardson-Lucy": richardson_lucy, "double DIP": fitted}.items():
    x_hat = problem.read(result.x_hat)
    shown[f"{name}, {psnr_db(x_hat, problem.x).item():.1f} dB"] = x_hat
shown["kernel found"] = kernel / kernel.max()

dinv.utils.plot(shown, rescale_mode="clip", figsize=(15, 3))

# %%
# On the command line:
#
# .. code-block:: bash
#
#     python infer.py task=blind_deblur measurement=blurred.png method=double_dip
