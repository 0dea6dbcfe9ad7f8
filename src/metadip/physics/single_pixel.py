"""The single-pixel camera: one number per pattern of +1 and -1 shown to the image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from deepinv.physics import LinearPhysics
from deepinv.physics.singlepixel import hadamard_2d
from torch import Tensor


class HadamardSensing(LinearPhysics):
    """Measure each channel with the smoothest patterns of an orthonormal Hadamard transform.

    deepinv's ``SinglePixelCamera`` needs sides that are powers of 2 and returns an image of
    coefficients, zero where nothing was measured.

    Model:
        y = S H x: the image is padded with zeros to powers of 2, H is the Hadamard transform, and S
        keeps the M coefficients with the fewest changes of sign along rows and columns together.
        Patterns of few changes hold most of the energy of an image.
    Shape:
        ``A``: (B, C, H, W) -> (B, C, M).
    Args:
        image_shape: (C, H, W).
        n_measurements: M per channel, 1 to the number of padded pixels.
    """

    chosen: Tensor

    def __init__(self, image_shape: tuple[int, int, int], *, n_measurements: int) -> None:
        super().__init__(img_size=tuple(image_shape))
        height, width = (_power_of_2(side) for side in image_shape[1:])
        order = _changes(height)[:, None] + _changes(width)
        chosen = order.flatten().argsort(stable=True)[:n_measurements]
        self.register_buffer("chosen", chosen)
        self.padded = (height, width)

    def A(self, x: Tensor, **_: object) -> Tensor:
        """Return the chosen coefficients of each channel."""
        height, width = self.padded
        padded = F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))
        y: Tensor = hadamard_2d(padded).flatten(-2)[..., self.chosen]
        return y

    def A_adjoint(self, y: Tensor, **_: object) -> Tensor:
        """Return the sum of the patterns weighted by ``y``."""
        height, width = self.padded
        zeros = y.new_zeros(*y.shape[:-1], height * width)
        image = zeros.index_copy(-1, self.chosen, y).unflatten(-1, self.padded)
        x: Tensor = hadamard_2d(image)[..., : self.img_size[1], : self.img_size[2]]
        return x


class PatternSensing(LinearPhysics):
    """Measure each channel with the rows of one matrix, the patterns.

    Shape:
        ``A``: (B, C, H, W) -> (B, C, M).
    Args:
        patterns: (M, H*W).
        image_shape: (C, H, W).
    Cost: stores the matrix; a 64 px image at a quarter of its pixels needs 17 MB.
    """

    patterns: Tensor

    def __init__(self, patterns: Tensor, *, image_shape: tuple[int, int, int]) -> None:
        super().__init__(img_size=tuple(image_shape))
        self.register_buffer("patterns", patterns)

    def A(self, x: Tensor, **_: object) -> Tensor:
        """Return the products of each channel with the patterns."""
        return x.flatten(-2) @ self.patterns.T

    def A_adjoint(self, y: Tensor, **_: object) -> Tensor:
        """Return the sum of the patterns weighted by ``y``."""
        x: Tensor = (y @ self.patterns).unflatten(-1, self.img_size[1:])
        return x


class SignSensing(PatternSensing):
    """Measure each channel with random patterns of +1 and -1 in equal parts, over sqrt(M).

    deepinv's camera with ``fast=False`` draws -1 at 69 %, and decomposes the matrix in advance.

    Args:
        image_shape: (C, H, W).
        n_measurements: M per channel, at least 1.
        seed: of the patterns, drawn on the CPU.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], *, n_measurements: int, seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        size = (n_measurements, math.prod(image_shape[1:]))
        coins = torch.randint(0, 2, size, generator=generator, dtype=torch.int8)
        patterns = (2 * coins - 1).float() / math.sqrt(n_measurements)
        super().__init__(patterns, image_shape=image_shape)
        self.seed = seed


def _power_of_2(side: int) -> int:
    return 1 << (side - 1).bit_length()


def _changes(side: int) -> Tensor:
    """Return how often the sign changes along each basis function of deepinv's transform."""
    basis = hadamard_2d(torch.eye(side)[:, None, :].contiguous())[:, 0]
    changes: Tensor = (basis[:, 1:] * basis[:, :-1] < 0).sum(1).float()
    return changes
