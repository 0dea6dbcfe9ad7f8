"""
Compressive sensing: an image from a quarter of the numbers
===========================================================

Random linear measurements y = A x, a quarter as many as the image has values.
"""

import deepinv as dinv

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db
from metadip.report import measurement_picture
from metadip.tasks import CompressiveSensingTask

# A picture that comes with scikit-image, 96 px, as a batch of one: (1, 3, 96, 96).
picture = read_image(sample_picture("chelsea.png"))
x = resize(centre_crop(picture, 300), 96)[None]

task = CompressiveSensingTask(0.25, noise_std=0.0, operator="structured", max_bytes=2**30)
problem = task.measure(x, seed=0)
print(f"{x.numel()} unknowns, {problem.y.numel()} measurements")

# %%
# The operator, which the problem carries as ``problem.physics``, is drawn from the seed. The
# adjoint, A\ :sup:`T` y, shows how little a measurement resembles the image.

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
#     python infer.py task=cs task.ratio=0.25 input=photo.png
