"""Parallel-beam tomography of images of any shape."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from deepinv.physics import LinearPhysics, Tomography
from torch import Tensor


class ParallelBeam(LinearPhysics):
    """Project an image along parallel rays, with deepinv's ``Tomography`` and an exact adjoint.

    deepinv's operator takes square images, keeps a function of autograd per batch size for its
    adjoint, and measures in pixels, so that its values grow with the image.

    Model:
        y = line integrals of each channel, for an image of side 1: it is centred in a square of
        ``side`` = max(H, W) pixels and the sums along rays are divided by ``side``. A ray through
        a white image measures at most 1.4.
    Shape:
        ``A``: (B, C, H, W) -> (B, C, D, number of angles), D = ceil(sqrt(2) side) detectors.
    Args:
        image_shape: (C, H, W).
        angles_deg: directions of the detector, in degrees.
    Cost: 2 D^2 floats per angle (40 angles at 256 px: 42 MB), and D^2 interpolations per channel.
    Example:
        >>> op = ParallelBeam((1, 8, 6), angles_deg=[0.0, 90.0])
        >>> op.A(torch.ones(2, 1, 8, 6)).shape
        torch.Size([2, 1, 12, 2])
    """

    def __init__(self, image_shape: tuple[int, int, int], *, angles_deg: Sequence[float]) -> None:
        super().__init__(img_size=tuple(image_shape))
        self.angles_deg = tuple(float(angle) for angle in angles_deg)
        self.side = max(image_shape[1:])
        self.projector = Tomography(
            torch.tensor(self.angles_deg),
            img_width=self.side,
            circle=False,
            parallel_computation=True,
            adjoint_via_backprop=True,
            normalize=False,
        )

    def A(self, x: Tensor, **_: object) -> Tensor:
        """Return the projections."""
        height, width = self.side - x.shape[-2], self.side - x.shape[-1]
        square = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        y: Tensor = self.projector.radon(square)
        return y / self.side

    def A_adjoint(self, y: Tensor, **_: object) -> Tensor:
        """Return the projections smeared back along their rays."""
        zero = y.new_zeros((*y.shape[:-2], *self.img_size[1:]))
        back: Tensor = torch.func.vjp(self.A, zero)[1](y)[0]
        return back
