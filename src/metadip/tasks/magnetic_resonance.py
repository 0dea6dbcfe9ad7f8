"""Magnetic resonance imaging from few columns of the k-space, with one coil or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

import torch
from deepinv.physics import MRI, LinearPhysics, MultiCoilMRI
from torch import Tensor

from metadip.physics.coils import coil_maps, column_mask, smooth_phase
from metadip.physics.noise import operator_seed
from metadip.physics.operators import ImageShape
from metadip.tasks.arguments import as_grey, noise_range, number_range, one_image_shape
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.measuring import measure_with, read_with
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError

MAX_ACCELERATION, MAX_COILS = 16, 15
COMPLEX = 2  # channels of the unknown: real and imaginary part


@dataclass(frozen=True)
class MagneticResonanceTask:
    """Recover a complex image from few columns of the k-space, y_n = m F(s_n x) + e.

    Model:
        F is the orthonormal Fourier transform, m the mask of sampled columns (``column_mask``), s_n
        the sensitivity of coil n with sum |s_n|^2 = 1; one coil sees everything alike. The unknown
        has two channels, real and imaginary. Simulated from a picture, its grey values become
        the magnitude and a smooth phase is added. Noise lies where the k-space is sampled. Images
        have most of their energy in the columns that are always sampled, so that the scale is 1.
        What is shown and scored is the magnitude, cropped to the truth and shifted and scaled to
        its mean and standard deviation, as the papers of unlearned MRI do.
    Args:
        acceleration: columns per sampled column, 1 to 16, or (low, high).
        coils: receiver coils, 1 to 15.
        noise_std: of real and imaginary part each, in [0, 1] intensity since F is orthonormal; or
            (low, high) from which each image draws uniformly.
    Raises:
        UserError: If an argument is out of range.
    References:
        Darestani and Heckel (2021), ConvDecoder, arXiv:2007.02471.
    Example:
        >>> task = MagneticResonanceTask(4, coils=3, noise_std=0.0)
        >>> task.measure(torch.zeros(1, 1, 16, 20), seed=0).y.shape
        torch.Size([1, 2, 3, 16, 20])
    """

    reads_images: ClassVar[bool] = False
    same_size: ClassVar[bool] = False

    acceleration: float | Sequence[float]
    _: KW_ONLY
    coils: int
    noise_std: float | Sequence[float]

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        self._accelerations()
        noise_range(self.noise_std)
        if not isinstance(self.coils, int) or not 1 <= self.coils <= MAX_COILS:
            raise UserError(f"task.coils={self.coils!r} must be a whole number, 1 to {MAX_COILS}")

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W), made grey; see ``metadip.types.Task``."""
        _, height, width = one_image_shape(x)
        grey = as_grey(x)
        generator = torch.Generator().manual_seed(operator_seed(seed))
        low, high = self._accelerations()
        acceleration = low + (high - low) * float(torch.rand((), generator=generator))
        mask = column_mask(height, width, acceleration=acceleration, generator=generator)
        phase = smooth_phase(height, width, generator=generator).to(x)
        unknown = torch.cat([grey * phase.cos(), grey * phase.sin()], dim=1)
        maps = None if self.coils == 1 else coil_maps(self.coils, height, width)
        problem = measure_with(
            scanner(mask.to(x), maps).to(x.device),
            unknown,
            noise_std=self.noise_std,
            seed=seed,
            name=name,
            kept=mask.to(x),
            reading=magnitude,
        )
        return replace(problem, x=grey)

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y``, the k-space with its centre in the middle, and how it was sampled.

        Model:
            ``y``: complex (H, W) or (coils, H, W), or real (2, H, W) or (2, coils, H, W).
            ``mask`` (H, W), or W of its columns; without it, what is not zero was sampled.
            ``coil_maps``: complex (coils, H, W), needed with several coils. ``x``: the magnitude,
            (1, H, W), cropped or not. Values should lie near [0, 1] after the inverse transform.
        """
        y = _kspace(file)
        height, width = y.shape[-2:]
        mask = _sampled(file, y)
        maps = _maps(file, y) if y.ndim == 5 else None
        return read_with(
            file,
            scanner(mask, maps),
            mask * y,
            image_shape=(COMPLEX, height, width),
            noise_std=self.noise_std,
            scale=1.0 if maps is None else 1 / float(maps.abs().square().sum(0).max()) ** 0.5,
            reading=magnitude,
            truth=_truth(file, (1, height, width)),
        )

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return the mask and the coils' sensitivities, None for other operators."""
        physics = problem.physics
        if type(physics) not in (MRI, MultiCoilMRI):
            return None
        entries: dict[str, Tensor] = {"mask": physics.mask[0, 0].cpu()}
        if isinstance(physics, MultiCoilMRI):
            entries["coil_maps"] = physics.coil_maps[0].cpu()
        return entries

    def check_size(self, image_shape: ImageShape) -> None:
        """Accept any size."""

    def _accelerations(self) -> tuple[float, float]:
        low, high = number_range(
            self.acceleration, key="acceleration", above=0, at_most=MAX_ACCELERATION
        )
        if low < 1:
            raise UserError(f"task.acceleration={self.acceleration} must be at least 1")
        return low, high


def _truth(file: MeasurementFile, shown: ImageShape) -> Tensor | None:
    """Return the magnitude (1, 1, h, w) in a file, of the size of the image or cropped."""
    if "x" not in file.content:
        return None
    x = file.image("x")
    if x.shape[1] != 1 or x.shape[2] > shown[1] or x.shape[3] > shown[2]:
        raise file.error("x", f"must be a magnitude {shown} or smaller, got {tuple(x.shape[1:])}")
    return x


def magnitude(x_hat: Tensor, x: Tensor | None) -> Tensor:
    """Return the magnitude (B, 1, H, W) of complex images, cropped and matched to a truth.

    Model:
        (m - mean(m)) std(x) / std(m) + mean(x) of the centre with the size of x; m without a truth.
    """
    size: Tensor = x_hat.square().sum(1, keepdim=True).sqrt()
    if x is None:
        return size
    top, left = ((size.shape[i] - x.shape[i]) // 2 for i in (-2, -1))
    size = size[..., top : top + x.shape[-2], left : left + x.shape[-1]]
    spread = size.std() if size.std() > 0 else torch.ones_like(size.mean())
    return (size - size.mean()) * (x.std() / spread) + x.mean()


def scanner(mask: Tensor, maps: Tensor | None) -> LinearPhysics:
    """Return the operator of a mask (H, W), in its precision, and of the coils if there are any."""
    if maps is None:
        return MRI(mask=mask, img_size=tuple(mask.shape))
    kind = torch.complex128 if mask.dtype == torch.float64 else torch.complex64
    return MultiCoilMRI(mask=mask, coil_maps=maps.to(kind), img_size=tuple(mask.shape))


def _kspace(file: MeasurementFile) -> Tensor:
    """Return the k-space as (1, 2, H, W) or (1, 2, coils, H, W)."""
    y = file.floats("y", complex_too=True)
    if y.is_complex():
        y = torch.view_as_real(y).movedim(-1, 0).contiguous()
    if y.ndim not in (3, 4) or y.shape[0] != COMPLEX or not y.numel():
        raise file.error(
            "y",
            "must be the k-space, complex (H, W) or (coils, H, W), or with real and imaginary part "
            f"as a first dimension of 2, got {tuple(y.shape)}",
        )
    return y[None]


def _sampled(file: MeasurementFile, y: Tensor) -> Tensor:
    """Return the mask (H, W) of a file, or where y is not zero."""
    if "mask" not in file.content:
        return y.flatten(0, -3).ne(0).any(0).float()
    mask, shape = file.get("mask"), tuple(y.shape[-2:])
    if isinstance(mask, Tensor) and tuple(mask.shape) == shape[1:]:
        mask = mask.expand(shape)
    if not isinstance(mask, Tensor) or tuple(mask.shape) != shape:
        found = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise file.error("mask", f"must have the size of the k-space, {shape}, got {found}")
    if not bool(((mask == 0) | (mask == 1)).all()) or not bool(mask.any()):
        raise file.error("mask", "must be 1 where the k-space was sampled, else 0, and not all 0")
    return mask.float().contiguous()


def _maps(file: MeasurementFile, y: Tensor) -> Tensor:
    """Return the sensitivities of a file."""
    file.get("coil_maps", "sensitivities of the coils, complex (coils, H, W)")
    maps = file.floats("coil_maps", complex_too=True) + 0j
    if tuple(maps.shape) != tuple(y.shape[-3:]):
        raise file.error(
            "coil_maps",
            f"must have the shape {tuple(y.shape[-3:])} of the k-space, got {tuple(maps.shape)}",
        )
    if not bool(maps.abs().any()):
        raise file.error("coil_maps", "are zero everywhere: estimate them again")
    return maps
