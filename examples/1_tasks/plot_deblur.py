"""
Deblurring: a known blur
========================

A shaken camera: motion blur whose kernel is known, and noise.
"""

import deepinv as dinv

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.methods import Wiener
from metadip.metrics import psnr_db
from metadip.tasks import DeblurringTask

# A picture that comes with scikit-image, 128 px, as a batch of one: (1, 3, 128, 128).
picture = read_image(sample_picture("chelsea.png"))
x = resize(centre_crop(picture, 300), 128)[None]

task = DeblurringTask(
    "motion", kernel_std_px=1.5, kernel_size_px=15, boundary="circular", noise_std=0.01
)
problem = task.measure(x, seed=0)

# %%
# Wiener deconvolution is the classical answer, and takes no time at all. Where the kernel is
# unknown, see :ref:`sphx_glr_gallery_1_tasks_plot_blind_deblur.py`.

photo = metadip.load()
result = photo.reconstruct([problem])[0]
x_hat = result.x_hat

wiener = Wiener(noise="known", signal="natural", noise_factor=1.0)
by_wiener = wiener.reconstruct([problem])[0].x_hat

dinv.utils.plot(
    {
        "truth": x,
        "blurred": problem.y,
        f"Wiener, {psnr_db(by_wiener, x).item():.1f} dB": by_wiener,
        f"photo, {psnr_db(x_hat, x).item():.1f} dB": x_hat,
    },
    rescale_mode="clip",
    figsize=(12, 3),
)

# %%
# On the command line:
#
# .. code-block:: bash
#
#     python infer.py task=deblur task.kernel=motion input=photo.png
