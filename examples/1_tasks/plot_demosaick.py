"""
Demosaicking: colours from a sensor
===================================

A camera's sensor sees one colour at each pixel, here in the Bayer pattern RGGB.
"""

import deepinv as dinv

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db
from metadip.tasks import DemosaickingTask

# A picture that comes with scikit-image, 128 px, as a batch of one: (1, 3, 128, 128).
picture = read_image(sample_picture("chelsea.png"))
x = resize(centre_crop(picture, 300), 128)[None]

task = DemosaickingTask("rggb", noise_std=0.02)
problem = task.measure(x, seed=0)

# %%
# ``photo`` has seen no mosaic in its training: the operator alone tells it what was measured.

photo = metadip.load()
result = photo.reconstruct([problem])[0]
x_hat = result.x_hat

dinv.utils.plot(
    {
        "truth": x,
        "mosaic": problem.y,
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
#     python infer.py task=demosaick task.pattern=rggb measurement=raw.tif
