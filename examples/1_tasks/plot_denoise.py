"""
Noise: restore a photograph
===========================

A photograph with Gaussian noise of 25 of 255, restored by ``photo``, the default prior. It is not
told the noise level.
"""

import deepinv as dinv

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db
from metadip.tasks import DenoisingTask

# A picture that comes with scikit-image, 256 px, as a batch of one: (1, 3, 256, 256).
picture = read_image(sample_picture("coffee.png"))
x = resize(centre_crop(picture, 400), 256)[None]

task = DenoisingTask(25 / 255, clip=False)
problem = task.measure(x, seed=0)

# %%
# ``metadip.load()`` is a deepinv ``Reconstructor``. A problem holds the measurement and its
# operator; with a photograph of your own, call ``photo(y, deepinv.physics.Denoising())`` instead,
# y of shape (1, 3, H, W) with values from 0 to 1.

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
    figsize=(12, 4),
)

# %%
# The fit ended by itself, at a step that changed less than a thousandth of the image:

print(f"{result.steps} steps, {result.stop_reason}")

# %%
# On the command line:
#
# .. code-block:: bash
#
#     python infer.py task=denoise measurement=noisy.png
