"""
Tomography: a slice from 20 directions
======================================

Sums along parallel rays through a phantom, from 20 directions only.
"""

import deepinv as dinv
from torch.nn.functional import interpolate

import metadip
from metadip.data import read_image, resize, sample_picture
from metadip.methods import TotalVariationADMM
from metadip.metrics import psnr_db
from metadip.tasks import TomographyTask

# One channel: (1, 1, 64, 64).
x = resize(read_image(sample_picture("phantom.png"), channels=1), 64)[None]

task = TomographyTask(20, noise_std=0.001)
problem = task.measure(x, seed=0)
print(f"sinogram: {problem.y.shape[-2]} detectors, {problem.y.shape[-1]} directions")

# %%
# ``photo`` was trained on photographs, and never on this operator; total variation is the
# classical partner, with the settings of ``method=admm_tv``.

by_photo = metadip.load(steps=20).reconstruct([problem])[0].x_hat
variation = TotalVariationADMM(weight=0.005, penalty=1.0, iterations=75)
by_variation = variation.reconstruct([problem])[0].x_hat

sinogram = interpolate(problem.y / problem.y.max(), (64, 64))  # for the eye
dinv.utils.plot(
    {
        "truth": x,
        "sinogram": sinogram,
        f"total variation, {psnr_db(by_variation, x).item():.1f} dB": by_variation,
        f"photo, {psnr_db(by_photo, x).item():.1f} dB": by_photo,
    },
    rescale_mode="clip",
    figsize=(12, 3),
)

# %%
# On the command line:
#
# .. code-block:: bash
#
#     python infer.py task=ct task.angles=20 input=slice.png method=admm_tv
