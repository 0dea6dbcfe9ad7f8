"""
JPEG: remove the blocks
=======================

A photograph that was compressed to quality 10.
"""

import deepinv as dinv

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db
from metadip.tasks import JPEGTask

# A picture that comes with scikit-image, 128 px, as a batch of one: (1, 3, 128, 128).
picture = read_image(sample_picture("coffee.png"))
x = resize(centre_crop(picture, 400), 128)[None]

task = JPEGTask(10, codec=False)
problem = task.measure(x, seed=0)

# %%
# The blocks count as noise of unknown level. No prior here was trained on JPEG, so expect a
# gentle effect.

photo = metadip.load()
result = photo.reconstruct([problem])[0]
x_hat = result.x_hat

dinv.utils.plot(
    {
        "truth": x,
        f"JPEG, {psnr_db(problem.y, x).item():.1f} dB": problem.y,
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
#     python infer.py task=jpeg task.quality=10 measurement=photo.jpg
