"""
Single-pixel camera: one number a pattern
=========================================

A camera with a single detector sums the light behind one pattern after another: a quarter as many
patterns as pixels.
"""

import deepinv as dinv

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db
from metadip.report import measurement_picture
from metadip.tasks import SinglePixelTask

# A picture that comes with scikit-image, 128 px, as a batch of one: (1, 3, 128, 128).
picture = read_image(sample_picture("chelsea.png"))
x = resize(centre_crop(picture, 300), 128)[None]

task = SinglePixelTask(0.25, patterns="hadamard", noise_std=0.0)
problem = task.measure(x, seed=0)

# %%
# The patterns are the smoothest ones of a Hadamard matrix; the adjoint is then a coarse picture.

photo = metadip.load()
result = photo.reconstruct([problem])[0]
x_hat = result.x_hat

_, seen = measurement_picture(problem)
dinv.utils.plot(
    {
        "truth": x,
        "adjoint of y": seen[None],
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
#     python infer.py task=spc task.ratio=0.25 input=photo.png
