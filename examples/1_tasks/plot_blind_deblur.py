"""
Blind deblurring: image and kernel at once
==========================================

A shaken camera whose motion nobody recorded: the image and the blur kernel are both unknown.
"""

import deepinv as dinv

from metadip import config, runs
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.methods import KernelFirst, Wiener
from metadip.metrics import psnr_db
from metadip.tasks import BlindDeblurringTask

picture = read_image(sample_picture("coffee.png"), channels=1)
x = resize(centre_crop(picture, 400), 96)[None]

task = BlindDeblurringTask("motion", kernel_px=13, kernel_seed=2, noise_std=0.01, known=False)
problem = task.measure(x, seed=0)

# %%
# The classical way is quick: the kernel from the strong edges of the picture, on coarse scales
# first, and then Wiener deconvolution, which assumes more noise than there is since the
# kernel is not exact. It is ``infer.py method=l0_wiener``.

wiener = Wiener(noise="estimated", signal="natural", noise_factor=2.0)
quick = KernelFirst(wiener, kernel_px=21, rounds=10).reconstruct([problem])[0]

# %%
# *Double DIP* fits one network to the image and one to the kernel; its presets are those of
# ``infer.py method=double_dip``, here with a small network and few steps so that this page builds
# quickly.

settings = [
    "task=blind_deblur",
    "method=double_dip",
    "method.steps=300",
    "method.kernel_px=21",
    "prior.image.network.channels=[16,16,16]",
    "prior.image.network.skip_channels=[16,16,16]",
]
double_dip = runs.build_method(config.compose("infer", settings))
fitted = double_dip.reconstruct([problem])[0]

# %%
# The kernel that was found is ``estimate.operator["filter"]`` of a result. Image and kernel are
# known up to a common shift, which ``problem.read`` removes.

shown = {"truth": problem.x, "blurred": problem.y}
for name, result in {"strong edges": quick, "double DIP": fitted}.items():
    x_hat = problem.read(result.x_hat)
    shown[f"{name}, {psnr_db(x_hat, problem.x).item():.1f} dB"] = x_hat
    kernel = result.estimate.operator["filter"]
    shown[f"{name}, kernel"] = kernel / kernel.max()

dinv.utils.plot(shown, rescale_mode="clip", figsize=(17, 3))

# %%
# On the command line:
#
# .. code-block:: bash
#
#     python infer.py task=blind_deblur measurement=blurred.png method=l0_wiener
