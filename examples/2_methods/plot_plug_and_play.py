"""
Plug-and-play: a denoiser inside an iteration
=============================================

Alternate between the measurement and a denoiser. Where measurements are exact and many, and a
minute an image does not matter, PnP-ADMM with BM3D ends above the learned starts
(:doc:`/choose`).
"""

import time

import deepinv as dinv

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.methods import TV, PnPADMM
from metadip.metrics import psnr_db
from metadip.tasks import CompressiveSensingTask

picture = read_image(sample_picture("chelsea.png"))
x = resize(centre_crop(picture, 300), 64)[None]
task = CompressiveSensingTask(0.25, noise_std=0.0, operator="structured", max_bytes=2**30)
problem = task.measure(x, seed=0)

# %%
# Strength, penalty and iterations are those that ``conf/pnp`` has for this task, from a grid
# search on other images. BM3D, ``metadip.methods.BM3D("torch")``, takes the place of total
# variation in the same line; it needs half a minute an image and ``pip install
# 'metadip[baselines]'``.

methods = {
    "PnP, total variation": PnPADMM(TV(weight=1.0), strength=0.0196, penalty=0.2, iterations=40),
    "PnP, photo": PnPADMM(metadip.denoiser("photo"), strength=0.0588, penalty=0.05, iterations=40),
    "photo": metadip.load(),
}
shown = {"truth": x}
for name, method in methods.items():
    begin = time.perf_counter()
    x_hat = method.reconstruct([problem])[0].x_hat
    seconds = time.perf_counter() - begin
    print(f"{name}: {psnr_db(x_hat, x).item():.1f} dB in {seconds:.1f} s")
    shown[name] = x_hat

dinv.utils.plot(shown, rescale_mode="clip", figsize=(12, 3))

# %%
# The same denoiser serves deepinv's own plug-and-play methods:

model = dinv.optim.PGD(
    data_fidelity=dinv.optim.L2(),
    prior=dinv.optim.PnP(denoiser=metadip.denoiser("photo")),
    stepsize=1.0,
    sigma_denoiser=0.01,
    max_iter=5,
)
print(type(model).__name__, "takes it, too")

# %%
# On the command line:
#
# .. code-block:: bash
#
#     python infer.py task=cs method=pnp_admm denoiser=bm3d pnp=cs_bm3d input=photo.png
