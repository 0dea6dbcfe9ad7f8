"""
Coherent diffraction: a crystal from its far field
==================================================

X-rays through a crystal give the magnitudes of its Fourier transform on the detector. The object
is complex: its phase is the strain of the crystal. Photons are counted, so the measurement is
noisy.
"""

import deepinv as dinv
import torch

from metadip.methods import HIO
from metadip.metrics import psnr_db
from metadip.tasks import DiffractionTask

# %%
# The crystal, a polygon of magnitude 1 with a smooth phase, is drawn from the seed; of the
# picture only the size counts.

task = DiffractionTask(2.0, photons=1e6, phase="weak", object="crystal", beamstop_px=0.0)
problem = task.measure(torch.zeros(1, 1, 32, 32), seed=0)

# %%
# Hybrid input-output, from ten random starts. Global phase, shift and conjugation cannot be told
# from magnitudes; ``problem.read`` removes them and gives the magnitude.

method = HIO(
    update="hio", cycles=500, er_cycles=50, beta=0.9, restarts=10, shrink_every=20, threshold=0.15
)
x_hat = method.reconstruct([problem])[0].x_hat
magnitude = problem.read(x_hat)

dinv.utils.plot(
    {
        "truth, magnitude": problem.x,
        "log of the measurement": torch.log1p(problem.y) / torch.log1p(problem.y).max(),
        f"HIO, {psnr_db(magnitude, problem.x).item():.1f} dB": magnitude,
    },
    rescale_mode="clip",
    figsize=(9, 3),
)

# %%
# On the command line, and with networks for magnitude and phase after it:
#
# .. code-block:: bash
#
#     python infer.py task=cdi method=hio input=photo.png image_size=64
#     python infer.py task=cdi method=hio_double_dip input=photo.png image_size=64
