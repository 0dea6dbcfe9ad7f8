"""Inpainting: pixels lost at random places, under text, in a hole, or by a mask from a file."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import ClassVar

import torch
from deepinv.physics import GaussianNoise, Inpainting
from torch import Tensor

from metadip.data.images import SUFFIXES
from metadip.physics.noise import add_gaussian_noise, draw_noise_std, operator_seed
from metadip.physics.operators import ImageShape
from metadip.tasks.arguments import (
    check_choice,
    draw_number,
    image_shape_of,
    middle_noise_std,
    noise_range,
    number_range,
)
from metadip.tasks.masks import DRAWN, checked_mask, is_binary, mask_file, read_mask
from metadip.tasks.measurement_file import READERS, MeasurementFile
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class InpaintingTask:
    """Fill in pixels that were lost, y = m (x + e) with a mask m of zeros and ones.

    Model:
        A random mask keeps each pixel with probability ``ratio``, and at least one of them; a hole
        covers 1 - ratio of the image; text covers about a fifth. The problem's scale
        s = sqrt(values / values kept) gives ||s A||_F^2 = C*H*W, at which step sizes are learned
        for every task; without it the steps would be too short by 1 / s^2.
    Args:
        ratio: fraction of pixels kept, in (0, 1], or (low, high) from which each image draws.
        noise_std: level in [0, 1] intensity, or (low, high) from which each image draws uniformly.
        per_channel: drop the values of each channel independently; False drops whole pixels.
        mask: random, text, hole, or a file: an image, white where pixels are kept, or ``.pt`` or
            ``.npz`` with ``mask``; or a folder of such files with the names of the images.
    Raises:
        UserError: If ``ratio`` or ``noise_std`` is out of range, ``per_channel`` is neither true
            nor false or does not go with ``mask``, or there is no such mask; in ``measure``, if it
            has another size than the image.
    References:
        Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925 (half of the pixels lost).
    Example:
        >>> task = InpaintingTask(0.5, noise_std=0.0, per_channel=False)
        >>> problem = task.measure(torch.full((1, 3, 8, 8), 0.5), seed=0)
        >>> problem.y.shape, problem.y.unique().tolist()
        (torch.Size([1, 3, 8, 8]), [0.0, 0.5])
    """

    reads_images: ClassVar[bool] = True
    same_size: ClassVar[bool] = True

    ratio: float | Sequence[float]
    _: KW_ONLY
    noise_std: float | Sequence[float]
    per_channel: bool
    mask: str = "random"

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        self._ratios()
        noise_range(self.noise_std)
        if not isinstance(self.per_channel, bool):
            raise UserError(f"task.per_channel={self.per_channel!r} must be true or false")
        if self.per_channel and self.mask != "random":
            raise UserError(f"task.per_channel=true goes with task.mask=random, not {self.mask}")
        if self.mask in DRAWN or Path(str(self.mask)).is_dir():
            return
        if Path(str(self.mask)).suffix.lower() not in (*READERS, *SUFFIXES):
            check_choice(self.mask, [*DRAWN, "a file or folder"], key="mask")
        read_mask(Path(self.mask))

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        shape = image_shape_of(x)
        mask = self._mask(shape, seed=seed, name=name)
        std = draw_noise_std(*noise_range(self.noise_std), seed=seed)
        physics = _masking(mask, shape, noise_std=std).to(device=x.device, dtype=x.dtype)
        with torch.no_grad():
            y = physics.A(add_gaussian_noise(x, std, seed=seed))
        return InverseProblem(y, physics, shape, x=x, name=name, seed=seed, scale=_scale(mask))

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y``, an image in [0, 1] intensity, and ``mask``, (H, W) or (C, H, W).

        The mask is 1 where ``y`` was observed and 0 where it was lost; lost values are ignored.
        Without a mask, as in an image file, it is that of the task, which must be a file or folder.
        """
        y = file.intensities()
        shape = file.check_image_shape("y", tuple(y.shape[1:]))
        if "mask" in file.content or self.mask in DRAWN:
            mask = checked_mask(file)
        else:
            mask = read_mask(mask_file(self.mask, file.path.stem))
        _check_fits(mask, shape, what=f"{file.path}: y")
        std = file.noise_std(middle_noise_std(self.noise_std))
        physics, x = _masking(mask, shape, noise_std=std), file.truth(shape)
        return InverseProblem(
            physics.A(y), physics, shape, x=x, name=file.path.stem, scale=_scale(mask)
        )

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return the mask, or None for operators other than masks of zeros and ones."""
        if type(problem.physics) is not Inpainting or not is_binary(problem.physics.mask):
            return None
        return {"mask": problem.physics.mask[0].cpu()}

    def check_size(self, image_shape: ImageShape) -> None:
        """Reject images of another size than a mask that serves them all."""
        if self.mask not in DRAWN and not Path(self.mask).is_dir():
            _check_fits(read_mask(Path(self.mask)), image_shape, what="the image")

    def _ratios(self) -> tuple[float, float]:
        return number_range(self.ratio, key="ratio", above=0, at_most=1)

    def _mask(self, shape: ImageShape, *, seed: int, name: str) -> Tensor:
        """Return the mask of an image on the CPU, (1, H, W) or (C, H, W)."""
        if self.mask in DRAWN:
            ratio = draw_number(*self._ratios(), seed=seed)
            generator = torch.Generator().manual_seed(operator_seed(seed))
            own = shape if self.per_channel else (1, *shape[1:])
            return DRAWN[self.mask](own, ratio, generator)
        mask = read_mask(mask_file(self.mask, name))
        _check_fits(mask, shape, what=f"image '{name}'")
        return mask


def _check_fits(mask: Tensor, shape: ImageShape, *, what: str) -> None:
    """Reject masks of another size, or another number of channels, than an image."""
    if tuple(mask.shape) not in ((1, *shape[1:]), shape):
        raise UserError(
            f"{what} has shape {shape}, its mask {tuple(mask.shape)}: a mask needs the size of the "
            "image"
        )
    if bool(mask.all()):
        LOG.warning("the mask of %s loses no pixel: white or 1 is kept, black or 0 lost", what)


def _masking(mask: Tensor, image_shape: ImageShape, *, noise_std: float) -> Inpainting:
    """Return the operator of a mask of zeros and ones, (1, H, W) or (C, H, W)."""
    physics = Inpainting(image_shape, mask=mask)
    physics.set_noise_model(GaussianNoise(noise_std))
    return physics


def _scale(mask: Tensor) -> float:
    """Return sqrt(values / values kept)."""
    return 1 / math.sqrt(mask.mean().item())
