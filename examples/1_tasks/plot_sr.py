"""
Super-resolution: four times larger
===================================

A small image, enlarged four times along each side.
"""

import deepinv as dinv

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db
from metadip.tasks import SuperResolutionTask

# A picture that comes with scikit-image, 128 px, as a batch of one: (1, 3, 128, 128).
picture = read_image(sample_picture("coffee.png"))
x = resize(centre_crop(picture, 400), 128)[None]

task = SuperResolutionTask(4, kernel="lanczos2", noise_std=0.0)
problem = task.measure(x, seed=0)

# %%
# The model is told how the image was made small: by a Lanczos kernel. Any other deepinv
# ``Downsampling`` serves as well.

photo = metadip.load()
result = photo.reconstruct([problem])[0]
x_hat = result.x_hat

dinv.utils.plot(
    {
        "truth": x,
        f"{problem.y.shape[-1]} px": problem.y,
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
#     python infer.py task=sr task.factor=4 measurement=small.png
