"""
MRI: a quarter of the k-space
=============================

A scanner samples the Fourier transform of a complex image. Leaving out three of four columns
makes the scan four times as fast, and the image ambiguous.
"""

import deepinv as dinv

import metadip
from metadip.data import read_image, resize, sample_picture
from metadip.methods import Adjoint, TotalVariationADMM
from metadip.metrics import psnr_db
from metadip.tasks import MagneticResonanceTask

picture = resize(read_image(sample_picture("phantom.png"), channels=1), 96)[None]
task = MagneticResonanceTask(4, coils=1, noise_std=0.0)
problem = task.measure(picture, seed=0)

# %%
# The unknown is complex, in two channels; ``problem.x`` is the magnitude of the truth, and
# ``problem.read`` gives that of a reconstruction, which is what is shown and scored.

methods = {
    "zero-filled": Adjoint(),
    "photo": metadip.load(steps=20),
    "total variation": TotalVariationADMM(weight=0.002, penalty=0.1, iterations=100),
}
shown = {"truth": problem.x}
for name, method in methods.items():
    magnitude = problem.read(method.reconstruct([problem])[0].x_hat)
    shown[f"{name}, {psnr_db(magnitude, problem.x).item():.1f} dB"] = magnitude

dinv.utils.plot(shown, rescale_mode="clip", figsize=(12, 3))

# %%
# No released prior has seen complex images, so total variation is the better choice here.
#
# On the command line:
#
# .. code-block:: bash
#
#     python infer.py task=mri task.acceleration=4 input=slice.png method=admm_tv
