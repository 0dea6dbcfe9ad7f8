"""
Inpainting: fill in lost pixels
===============================

Half of the pixels are lost.
"""

import deepinv as dinv

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db
from metadip.tasks import InpaintingTask

# A picture that comes with scikit-image, 128 px, as a batch of one: (1, 3, 128, 128).
picture = read_image(sample_picture("chelsea.png"))
x = resize(centre_crop(picture, 300), 128)[None]

task = InpaintingTask(0.5, noise_std=0.0, per_channel=False, mask="random")
problem = task.measure(x, seed=0)

# %%
# Here the noise is known to be zero, so a call of the model returns an image that keeps the
# observed pixels exactly.

photo = metadip.load()
x_hat = photo(problem.y, problem.physics)

dinv.utils.plot(
    {
        "truth": x,
        "observed": problem.y,
        f"photo, {psnr_db(x_hat, x).item():.1f} dB": x_hat,
    },
    rescale_mode="clip",
    figsize=(9, 3),
)

# %%
# ``mask="text"`` and ``mask="hole"`` draw other masks, and a file names one of your own.
#
# On the command line:
#
# .. code-block:: bash
#
#     python infer.py task=inpaint task.mask=mask.png measurement=damaged.png
