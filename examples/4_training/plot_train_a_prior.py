"""
Train a prior
=============

Meta-training learns what a fit starts from. This is a training of half a minute on small patches
of scikit-image's pictures, by ``task=mixture``: noise and lost pixels. It shows the way; the
released priors took 45 minutes and more.
"""

import tempfile
from pathlib import Path

import deepinv as dinv

import metadip
from metadip import config, runs
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db
from metadip.tasks import InpaintingTask

folder = tempfile.TemporaryDirectory()
out = Path(folder.name) / "run"

# %%
# The settings are those of ``train.py``, and so are their names. ``prior=informed`` is the kind
# of ``photo``: a network that is given the image that agrees with the measurement, here a small
# one. ``learner=functional`` needs no package beyond ``pip install metadip``.

settings = [
    *("data=sample", "image_size=32", "task=mixture", "task@val_task=mixture"),
    *(f"{task}.weights.{name}=0" for task in ("task", "val_task") for name in ("cs", "cpr")),
    *("prior=informed", "prior.network.channels=[16,24,32]", "objective=mse"),
    *("learner=functional", "learner.inner_steps=3", "learner.log_error=true"),
    *("learner.multi_step_from=0", "learner.multi_step_weight=1.0"),
    *("optimizer.names=[]", "optimizer.per_tensor=false"),  # nothing is adapted to y
    *("outer.weight_lr=3e-3", "trainer.max_steps=60", "val_steps=[0,3]"),
    *("data.loader.batch_size=4", "data.loader.epoch_size=240", "data.loader.val_size=4"),
    *("trainer.enable_progress_bar=false", f"out={out}"),
]
prior_file = runs.train(config.compose("train", settings))

# %%
# The file loads like a released prior, and holds for images of another size. Beside it ``photo``,
# whose training differs in length, data and size alone:

picture = read_image(sample_picture("coffee.png"))
x = resize(centre_crop(picture, 400), 96)[None]
problem = InpaintingTask(0.5, noise_std=0.0, per_channel=False).measure(x, seed=0)

shown = {"truth": x, "observed": problem.y}
for name, prior in {"ours": str(prior_file), "photo": "photo"}.items():
    x_hat = metadip.load(prior).reconstruct([problem])[0].x_hat
    shown[f"{name}, {psnr_db(x_hat, x).item():.1f} dB"] = x_hat
dinv.utils.plot(shown, rescale_mode="clip", figsize=(12, 3))
folder.cleanup()

# %%
# On the command line, and on data of your own, see :doc:`/train`:
#
# .. code-block:: bash
#
#     python train.py data=folder data.root=photos/
