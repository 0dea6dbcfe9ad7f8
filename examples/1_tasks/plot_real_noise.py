"""
A camera's noise: strong where it is bright
===========================================

Noise of a sensor, passed through the camera's own processing: its level differs from pixel to
pixel and is not known.
"""

import deepinv as dinv

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db
from metadip.tasks import RealNoiseTask

# A picture that comes with scikit-image, 128 px, as a batch of one: (1, 3, 128, 128).
picture = read_image(sample_picture("coffee.png"))
x = resize(centre_crop(picture, 400), 128)[None]

task = RealNoiseTask(0.01, read_std=0.01)
problem = task.measure(x, seed=0)

# %%
# ``photo`` estimates the noise from the picture. BM3D and the like would have to be told a level,
# and there is no single one here.

photo = metadip.load()
result = photo.reconstruct([problem])[0]
x_hat = result.x_hat

dinv.utils.plot(
    {
        "truth": x,
        f"noisy, {psnr_db(problem.y, x).item():.1f} dB": problem.y,
        f"photo, {psnr_db(x_hat, x).item():.1f} dB": x_hat,
    },
    rescale_mode="clip",
    figsize=(9, 3),
)

# %%
# On the command line:
#
# .. code-block:: bash
#
#     python infer.py task=real_noise measurement=photo.png
