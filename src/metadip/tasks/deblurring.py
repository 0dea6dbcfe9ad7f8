"""Deblurring with a known kernel: Gaussian, motion, out of focus, or one from a file."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from deepinv.physics import Blur, BlurFFT, LinearPhysics
from torch import Tensor

from metadip.data.images import SUFFIXES, read_image
from metadip.physics.kernels import disk_kernel, gaussian_kernel, motion_kernel
from metadip.physics.noise import operator_seed
from metadip.physics.operators import ImageShape
from metadip.tasks.arguments import (
    check_choice,
    draw_number,
    image_shape_of,
    noise_range,
    number_range,
)
from metadip.tasks.measurement_file import READERS, MeasurementFile
from metadip.tasks.measuring import measure_with, read_with
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError

BOUNDARIES = ("circular", "valid")
SUM_TOLERANCE = 1e-3
MAX_STD_PX, MAX_SIZE_PX = 20.0, 127.0
LARGE_PX = 15  # side of a kernel above which FFTs are faster than sums
LOG = logging.getLogger(__name__)
DRAWN: Mapping[str, Callable[[float, int], Tensor]] = {
    "gaussian": lambda std_px, seed: gaussian_kernel(std_px),
    "motion": lambda size_px, seed: motion_kernel(2 * round((size_px - 1) / 2) + 1, seed=seed),
    "disk": lambda size_px, seed: disk_kernel(size_px),
}


@dataclass(frozen=True)
class DeblurringTask:
    """Undo a known blur, y = k * x + e.

    Model:
        k has odd sides and sum 1. The problem's scale is sqrt(values of x / values of y), 1 for a
        circular blur: s A keeps the energy of smooth images, so that its largest singular value is
        near 1. ||s A||_F^2 = C*H*W instead would ask for s = 1 / ||k||, some 7 for a Gaussian of
        2 px, and the steps learned at other tasks would diverge.
    Args:
        kernel: gaussian, motion, disk, or a file: an image, ``.npy``, or ``.pt`` or
            ``.npz`` with ``filter``. An image is divided by its sum.
        kernel_std_px: standard deviation of Gaussian kernels, or (low, high) from which each image
            draws uniformly.
        kernel_size_px: side of the square that holds a motion trajectory, or diameter of the disk;
            or (low, high).
        boundary: circular wraps around, so that y has the size of x; valid keeps only what the
            image determines, so that y is smaller by the side of the kernel less 1.
        noise_std: level in [0, 1] intensity, or (low, high) from which each image draws uniformly.
    Raises:
        UserError: If an argument is out of range or unknown, the kernel's file is missing, has even
            sides or does not sum to 1, or, in ``measure``, the kernel is larger than the image.
    Example:
        >>> task = DeblurringTask("disk", kernel_std_px=1.5, kernel_size_px=5, boundary="valid",
        ...                       noise_std=0.0)
        >>> task.measure(torch.zeros(1, 3, 16, 20), seed=0).y.shape
        torch.Size([1, 3, 12, 16])
    """

    reads_images: ClassVar[bool] = True
    same_size: ClassVar[bool] = False

    kernel: str
    _: KW_ONLY
    kernel_std_px: float | Sequence[float]
    kernel_size_px: float | Sequence[float]
    boundary: str
    noise_std: float | Sequence[float]

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        for gaussian in (True, False):
            self._extents(gaussian=gaussian)
        check_choice(self.boundary, BOUNDARIES, key="boundary")
        noise_range(self.noise_std)
        if self.kernel not in DRAWN:
            suffixes = (*READERS, *SUFFIXES)
            if Path(str(self.kernel)).suffix.lower() not in suffixes:
                check_choice(self.kernel, [*DRAWN, "a file"], key="kernel")
            kernel_of_file(str(self.kernel))

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        shape, kernel = image_shape_of(x), self._kernel(seed).to(x)
        physics = _blurring(kernel, shape, boundary=self.boundary)
        return measure_with(
            physics.to(x.device),
            x,
            noise_std=self.noise_std,
            seed=seed,
            name=name,
            scale=_scale(kernel, shape, boundary=self.boundary),
        )

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y``, a blurred image in [0, 1] intensity, and ``filter``, the kernel (h, w).

        Without a filter, as in an image file, the kernel is that of the task. ``boundary`` is that
        of the task unless the file gives it.
        """
        y, boundary = file.intensities(), file.content.get("boundary", self.boundary)
        if boundary not in BOUNDARIES:
            raise file.error("boundary", f"is {boundary!r}; choose from {', '.join(BOUNDARIES)}")
        kernel = self._kernel_of(file)
        grown = (0, 0) if boundary == "circular" else (kernel.shape[0] - 1, kernel.shape[1] - 1)
        channels, height, width = y.shape[1:]
        shape = file.check_image_shape("y", (channels, height + grown[0], width + grown[1]))
        physics = _blurring(kernel, shape, boundary=str(boundary))
        return read_with(
            file,
            physics,
            y,
            image_shape=shape,
            noise_std=self.noise_std,
            scale=_scale(kernel, shape, boundary=str(boundary)),
        )

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return kernel and boundary; None for other operators and kernels of another sum."""
        physics = problem.physics
        circular = isinstance(physics, BlurFFT)
        if not circular and not (isinstance(physics, Blur) and physics.padding == "valid"):
            return None
        kernel = physics.filter[0, 0].cpu()
        shared = bool((physics.filter == kernel.to(physics.filter)).all())
        odd = kernel.shape[0] % 2 and kernel.shape[1] % 2
        if not (shared and odd and math.isclose(kernel.sum().item(), 1, abs_tol=SUM_TOLERANCE)):
            return None
        return {"filter": kernel, "boundary": "circular" if circular else "valid"}

    def check_size(self, image_shape: ImageShape) -> None:
        """Reject images smaller than the kernel, the largest one if it is drawn."""
        if self.kernel in DRAWN:
            side = self._extents(gaussian=self.kernel == "gaussian")[1]
            kernel = DRAWN[self.kernel](side, 0)
        else:
            kernel = kernel_of_file(self.kernel)
        _check_fits(kernel, image_shape)

    def _extents(self, *, gaussian: bool) -> tuple[float, float]:
        """Return the range of the setting that says how large a drawn kernel is."""
        if gaussian:
            return number_range(
                self.kernel_std_px, key="kernel_std_px", above=0, at_most=MAX_STD_PX
            )
        return number_range(self.kernel_size_px, key="kernel_size_px", above=0, at_most=MAX_SIZE_PX)

    def _kernel(self, seed: int) -> Tensor:
        if self.kernel not in DRAWN:
            return kernel_of_file(self.kernel)
        extents = self._extents(gaussian=self.kernel == "gaussian")
        return DRAWN[self.kernel](draw_number(*extents, seed=seed), operator_seed(seed))

    def _kernel_of(self, file: MeasurementFile) -> Tensor:
        """Return the kernel of a measurement file, or that of the task if it is not drawn."""
        if "filter" in file.content:
            return checked_kernel(file, "filter")
        sizes = self._extents(gaussian=self.kernel == "gaussian")
        if self.kernel == "motion" or (self.kernel in DRAWN and sizes[0] != sizes[1]):
            raise UserError(
                f"{file.path}: the kernel of a measurement must be known, and task.kernel="
                f"{self.kernel} draws it: add filter to the file or give task.kernel=FILE"
            )
        if self.kernel in DRAWN:
            LOG.warning(
                "the blur of the measurement is taken to be %s, %g px: if it is another, give "
                "task.kernel=FILE, or task=blind_deblur finds it", self.kernel, sizes[0],
            )  # fmt: skip
        return self._kernel(0)


@lru_cache
def kernel_of_file(path: str) -> Tensor:
    """Return the kernel (h, w) of a file, float32 of sum 1.

    Raises:
        UserError: If the file is missing or no kernel, or the kernel is even or does not sum to 1.
    """
    if not Path(path).is_file():
        raise UserError(f"no kernel file '{path}': check the path")
    if Path(path).suffix.lower() in READERS:
        key = "y" if Path(path).suffix.lower() == ".npy" else "filter"
        return checked_kernel(MeasurementFile(Path(path)), key)
    image = read_image(path, channels=1)[0]
    if not bool(image.any()):
        raise UserError(f"{path}: a kernel cannot be black everywhere")
    _check_odd(path, image)
    return image / image.sum()


def checked_kernel(file: MeasurementFile, key: str) -> Tensor:
    """Return the kernel (h, w) of a measurement file.

    Raises:
        UserError: If it is not two-dimensional, has even sides, or does not sum to 1.
    """
    kernel = file.floats(key)
    while kernel.ndim > 2 and len(kernel) == 1:
        kernel = kernel[0]
    if kernel.ndim != 2 or not kernel.numel():
        raise file.error(key, f"must be a kernel (h, w), got shape {tuple(kernel.shape)}")
    _check_odd(f"{file.path}: {key}", kernel)
    total = kernel.sum().item()
    if not math.isclose(total, 1, abs_tol=SUM_TOLERANCE):
        raise file.error(key, f"sums to {total:.4g}: divide the kernel by its sum")
    return kernel


def _check_odd(what: str, kernel: Tensor) -> None:
    height, width = kernel.shape
    if not height % 2 or not width % 2:
        raise UserError(
            f"{what}: a kernel of {height} x {width} has no pixel in its centre: pad it with "
            "zeros to odd sides"
        )


def _check_fits(kernel: Tensor, image_shape: ImageShape) -> None:
    if kernel.shape[0] > image_shape[1] or kernel.shape[1] > image_shape[2]:
        raise UserError(
            f"a kernel of {kernel.shape[0]} x {kernel.shape[1]} px does not fit in an image of "
            f"{image_shape[1]} x {image_shape[2]} px: use a smaller kernel"
        )


def _blurring(kernel: Tensor, image_shape: ImageShape, *, boundary: str) -> LinearPhysics:
    """Return the operator of a kernel (h, w), in its precision."""
    _check_fits(kernel, image_shape)
    if boundary == "circular":
        return BlurFFT(image_shape, filter=kernel[None, None])
    large = max(kernel.shape) > LARGE_PX
    return Blur(kernel[None, None], padding="valid", use_fft=large)


def _scale(kernel: Tensor, image_shape: ImageShape, *, boundary: str) -> float:
    """Return sqrt(values of x / values of y)."""
    if boundary == "circular":
        return 1.0
    height, width = image_shape[1:]
    left = (height - kernel.shape[0] + 1) * (width - kernel.shape[1] + 1)
    return math.sqrt(height * width / left)
