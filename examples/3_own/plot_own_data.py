"""
Your own measurements
=====================

From an array in memory, and from a file that keeps the measurement with its operator.
"""

import tempfile
from pathlib import Path

import deepinv as dinv
import numpy as np
import torch
from skimage import io

import metadip
from metadip.data import sample_picture
from metadip.tasks import DenoisingTask, InpaintingTask, load_measurement, save_measurement

# %%
# An array
# --------
#
# Images of other libraries are mostly (H, W, 3) with values from 0 to 255. metadip takes tensors
# (1, C, H, W) with values from 0 to 1. This photograph of a microscope is taken as the
# measurement: it is denoised as it is.

array = io.imread(sample_picture("microaneurysms.png"))
print(array.shape, array.dtype)
y = torch.from_numpy(np.float32(array) / 255)[None, None]
x_hat = metadip.load()(y, dinv.physics.Denoising())
dinv.utils.plot({"as it came": y, "photo": x_hat}, rescale_mode="clip", figsize=(6, 3))

# %%
# A file
# ------
#
# ``infer.py task=inpaint measurement=FILE`` reads such a file; for other tasks see :doc:`/tasks`.

mask = torch.ones(1, *array.shape)
mask[:, 40:60] = 0  # rows of a broken detector

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "damaged.npz"
    np.savez(path, y=(y[0] * mask).numpy(), mask=mask[0].numpy(), noise_std=0.0)
    task = InpaintingTask(0.5, noise_std=0.0, per_channel=False)
    problem = load_measurement(path, task)

x_hat = metadip.load().reconstruct([problem])[0].x_hat
dinv.utils.plot({"damaged": problem.y, "photo": x_hat}, rescale_mode="clip", figsize=(6, 3))

# %%
# The other way round, ``save_measurement`` writes a simulated problem so that others can solve
# it:

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "noisy.pt"
    save_measurement(path, DenoisingTask(0.1, clip=False).measure(y, seed=0))
    print(load_measurement(path, DenoisingTask(0.1, clip=False)).image_shape)
