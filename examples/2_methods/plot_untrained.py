"""
The untrained family: no learned prior at all
=============================================

For pictures that are nothing like a photograph, or where no training data may enter: networks
that start from random weights and are fitted to the one measurement.
"""

import deepinv as dinv

from metadip import config, runs
from metadip.callbacks import OraclePSNR
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db
from metadip.tasks import DenoisingTask

picture = read_image(sample_picture("ihc.png"))
x = resize(centre_crop(picture, 256), 64)[None]
problem = DenoisingTask(25 / 255, clip=False).measure(x, seed=0)

# %%
# Each method has a preset of settings, those of its authors: ``infer.py method=NAME``. Any
# setting can be changed; here the numbers of steps and the widths of the networks, so that this
# page builds quickly.

SMALL = ["prior.network.channels=[32,32,32]", "prior.network.skip_channels=[4,4,4]"]
PRESETS = {
    "DIP": ["method=dip", "prior=skip_unet_small", "method.steps=250", *SMALL],
    "DIP-TV": [
        *("method=dip_tv", "prior=skip_unet_small", "method.steps=250"),
        *SMALL,
    ],
    "Deep Decoder": ["method=deep_decoder", "prior.width=64", "method.steps=250"],
}
results = {}
for name, settings in PRESETS.items():
    method = runs.build_method(config.compose("infer", settings))
    results[name] = method.reconstruct([problem], hooks=[OraclePSNR()])[0]

shown = {"truth": x, "noisy": problem.y}
for name, result in results.items():
    shown[f"{name}, {psnr_db(result.x_hat, x).item():.1f} dB"] = result.x_hat
dinv.utils.plot(shown, rescale_mode="clip", figsize=(15, 3))

# %%
# Which to take when: :doc:`/choose`. The command line has all of them:
#
# .. code-block:: bash
#
#     python infer.py method=deep_decoder measurement=noisy.png
