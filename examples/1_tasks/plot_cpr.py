"""
Phase retrieval: an image from magnitudes
=========================================

Only the magnitudes ``y = |A x|`` of random projections are known; every sign is lost.
"""

import deepinv as dinv

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db
from metadip.report import measurement_picture
from metadip.tasks import PhaseRetrievalTask

# A picture that comes with scikit-image, 96 px, as a batch of one: (1, 3, 96, 96).
picture = read_image(sample_picture("coffee.png"))
x = resize(centre_crop(picture, 400), 96)[None]

task = PhaseRetrievalTask(1.0, noise_std=0.0, operator="structured", max_bytes=2**30)
problem = task.measure(x, seed=0)

# %%
# The operator is not linear; ``photo`` differentiates through it all the same. In the middle: the
# magnitudes, arranged as a square.

photo = metadip.load()
result = photo.reconstruct([problem])[0]
x_hat = result.x_hat

_, seen = measurement_picture(problem)
dinv.utils.plot(
    {
        "truth": x,
        f"{problem.y.numel()} magnitudes": seen[None],
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
#     python infer.py task=cpr input=photo.png
