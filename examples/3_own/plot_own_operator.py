"""
Your own operator
=================

Any deepinv ``Physics`` whose ``A`` can be differentiated serves, linear or not: a scanner that
sees only the sum of each row and each column of small blocks, say.
"""

import deepinv as dinv
import torch

import metadip
from metadip.data import centre_crop, read_image, resize, sample_picture
from metadip.metrics import psnr_db


class RowsAndColumns(dinv.physics.LinearPhysics):
    """Measure the mean of each row and of each column of blocks of ``size`` pixels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def A(self, x: torch.Tensor, **kwargs: object) -> torch.Tensor:
        """Return the means: (B, C, H, W) -> (B, C, 2 H W / size)."""
        rows = x.unfold(3, self.size, self.size).mean(-1)
        columns = x.unfold(2, self.size, self.size).mean(-1)
        return torch.cat([rows.flatten(2), columns.flatten(2)], dim=2)


# %%
# No adjoint is needed: it is taken by automatic differentiation. The noise model is deepinv's.

x = resize(centre_crop(read_image(sample_picture("coffee.png")), 400), 96)[None]
physics = RowsAndColumns(4)
physics.noise_model = dinv.physics.GaussianNoise(0.01)
y = physics(x)
print(f"{x.numel()} unknowns, {y.numel()} measurements")

# %%
# ``y`` does not tell the size of the image, so ``image_shape`` does.

x_hat = metadip.load()(y, physics, image_shape=(3, 96, 96))

blocks = torch.nn.functional.avg_pool2d(x, 4)
dinv.utils.plot(
    {
        "truth": x,
        "means of the blocks": blocks,
        f"photo, {psnr_db(x_hat, x).item():.1f} dB": x_hat,
    },
    rescale_mode="clip",
    figsize=(9, 3),
)

# %%
# On the command line, name a function that returns the operator: ``python infer.py
# physics=mylab.operators:radon measurement=scan.pt``, see :doc:`/own`.
