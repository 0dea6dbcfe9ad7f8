"""Blind deblurring: an image and the kernel that blurred it, both unknown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from metadip.argument_types import Between
from metadip.data.images import SUFFIXES
from metadip.physics.kernel_blur import KernelBlur
from metadip.physics.kernels import gaussian_kernel, motion_kernel
from metadip.physics.noise import operator_seed
from metadip.physics.operators import ImageShape
from metadip.physics.shifts import BestWindow
from metadip.tasks.arguments import check_choice, image_shape_of, noise_range
from metadip.tasks.deblurring import checked_kernel, kernel_of_file
from metadip.tasks.measurement_file import READERS, MeasurementFile
from metadip.tasks.measuring import measure_with, read_with
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError

MIN_PX, MAX_PX = 3, 127
MOST_NEGATIVE = 0.1  # mean of what is below zero, of the mean magnitude of a photograph
STDS = 6  # standard deviations across a Gaussian kernel
HIDDEN = ("filter",)  # what methods are not told
DRAWN: Mapping[str, Callable[[int, int], Tensor]] = {
    "motion": lambda size_px, seed: motion_kernel(size_px, seed=seed),
    "gaussian": lambda size_px, seed: gaussian_kernel((size_px - 1) / STDS - 1e-9),
}


@dataclass(frozen=True)
class BlindDeblurringTask:
    """Undo an unknown blur, y = k * x + e, from what the image determines of it.

    Model:
        The valid part of the convolution: y is smaller than x by the side of k less 1. Image and
        kernel are known up to a shift of one against the other, so that the window of the image
        that y shows is read, shifted to fit the truth best where there is one: its PSNR is the
        highest over shifts. The problem's scale is sqrt(values of x / values of y).
    Args:
        kernel: motion (a shaking camera), gaussian, or a file as of ``DeblurringTask``.
        kernel_px: odd side of drawn kernels, 3 to 127; a Gaussian has a sixth of it as standard
            deviation.
        kernel_seed: draws the motion, the same for all images; None lets each image draw its own.
        noise_std: level in [0, 1] intensity, or (low, high) from which each image draws uniformly.
        known: tell the kernel to methods, for upper bounds.
    Raises:
        UserError: If an argument is out of range or unknown, the kernel's file is bad, or, in
            ``measure``, the kernel is larger than the image.
    Example:
        >>> task = BlindDeblurringTask("motion", kernel_px=5, kernel_seed=None, noise_std=0.0,
        ...                            known=False)
        >>> problem = task.measure(torch.zeros(1, 3, 16, 20), seed=0)
        >>> problem.y.shape, problem.unknown
        (torch.Size([1, 3, 12, 16]), ('filter',))
    """

    reads_images: ClassVar[bool] = True
    same_size: ClassVar[bool] = False

    kernel: str
    _: KW_ONLY
    kernel_px: int
    kernel_seed: Annotated[int, Between(0, 2**63 - 1)] | None
    noise_std: float | Sequence[float]
    known: bool

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        noise_range(self.noise_std)
        whole = isinstance(self.kernel_px, int) and not isinstance(self.kernel_px, bool)
        if not whole or not MIN_PX <= self.kernel_px <= MAX_PX or self.kernel_px % 2 == 0:
            raise UserError(
                f"task.kernel_px={self.kernel_px!r} must be an odd number of pixels, {MIN_PX} to "
                f"{MAX_PX}: a kernel needs a pixel in its centre"
            )
        if self.kernel not in DRAWN:
            if Path(str(self.kernel)).suffix.lower() not in (*READERS, *SUFFIXES):
                check_choice(self.kernel, [*DRAWN, "a file"], key="kernel")
            kernel_of_file(str(self.kernel))

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        shape, kernel = image_shape_of(x), self._kernel(seed).to(x)
        self._check_fits(kernel, shape)
        size = _measured_size(shape, kernel)
        problem = measure_with(
            KernelBlur(kernel[None, None]).to(x.device),
            x,
            noise_std=self.noise_std,
            seed=seed,
            name=name,
            scale=_scale(shape, size),
            reading=BestWindow(*size),
        )
        return replace(problem, x=_middle(x, size), unknown=self._hidden)

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y``, a blurred image in [0, 1] intensity; nothing else is needed.

        Model:
            ``filter`` (h, w) is the true kernel, if known: for scores, and for methods with
            ``known``. ``x`` is the sharp image, of the size of y, or larger by that of the kernel
            less 1.
        """
        y = file.intensities()
        _check_light(file, y)
        kernel = torch.ones(1, 1)
        if "filter" in file.content:
            kernel = checked_kernel(file, "filter")
        elif self.known and self.kernel not in DRAWN:
            kernel = kernel_of_file(self.kernel)
        elif self.known:
            raise UserError(
                f"{file.path}: task.known=true needs the kernel of this measurement: add filter to "
                "the file or give task.kernel=FILE"
            )
        size = (int(y.shape[-2]), int(y.shape[-1]))
        grown = (size[0] + kernel.shape[0] - 1, size[1] + kernel.shape[1] - 1)
        shape = file.check_image_shape("y", (int(y.shape[1]), *grown))
        return replace(
            read_with(
                file,
                KernelBlur(kernel[None, None]),
                y,
                image_shape=shape,
                noise_std=self.noise_std,
                scale=_scale(shape, size),
                reading=BestWindow(*size),
                truth=_truth(file, shape, size),
            ),
            unknown=self._hidden,
        )

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return the kernel, None for other operators."""
        if not isinstance(problem.physics, KernelBlur):
            return None
        return {"filter": problem.physics.filter[0, 0].cpu()}

    def check_size(self, image_shape: ImageShape) -> None:
        """Reject images smaller than the kernel."""
        self._check_fits(self._kernel(0), image_shape)

    @property
    def _hidden(self) -> tuple[str, ...]:
        return () if self.known else HIDDEN

    def _kernel(self, seed: int) -> Tensor:
        """Return the kernel (h, w) of the measurement with ``seed``."""
        if self.kernel in DRAWN:
            drawn_by = seed if self.kernel_seed is None else self.kernel_seed
            return DRAWN[self.kernel](self.kernel_px, operator_seed(drawn_by))
        return kernel_of_file(self.kernel)

    def _check_fits(self, kernel: Tensor, image_shape: ImageShape) -> None:
        height, width = image_shape[1:]
        if kernel.shape[0] > height or kernel.shape[1] > width:
            what = "kernel_px" if self.kernel in DRAWN else "kernel"
            raise UserError(
                f"task.{what}={getattr(self, what)}: a kernel of {kernel.shape[0]} x "
                f"{kernel.shape[1]} px does not fit in an image of {height} x {width} px: use a "
                "smaller kernel"
            )


def _measured_size(image_shape: ImageShape, kernel: Tensor) -> tuple[int, int]:
    return image_shape[1] - kernel.shape[0] + 1, image_shape[2] - kernel.shape[1] + 1


def _scale(image_shape: ImageShape, size: tuple[int, int]) -> float:
    """Return sqrt(values of x / values of y)."""
    return math.sqrt(math.prod(image_shape[1:]) / math.prod(size))


def _middle(x: Tensor, size: tuple[int, int]) -> Tensor:
    top, left = ((n - m) // 2 for n, m in zip(x.shape[-2:], size, strict=True))
    return x[..., top : top + size[0], left : left + size[1]].contiguous()


def _check_light(file: MeasurementFile, y: Tensor) -> None:
    """Reject photographs that are darker than nothing; weak noise may be."""
    if y.mean() <= 0:
        raise file.error("y", f"has a mean of {y.mean():.3g}: light is not negative")
    if -y.clamp(max=0).mean() > MOST_NEGATIVE * y.abs().mean():
        raise file.error("y", f"falls to {y.min():.3g}, by more than noise: light is not negative")


def _truth(file: MeasurementFile, shape: ImageShape, size: tuple[int, int]) -> Tensor | None:
    """Return what y shows of the truth of a file, if it has one."""
    if "x" not in file.content:
        return None
    x = file.image("x")
    if tuple(x.shape[1:]) not in (shape, (shape[0], *size)):
        raise file.error(
            "x", f"must have the shape of y, {(shape[0], *size)}, got {tuple(x.shape[1:])}"
        )
    return _middle(x, size)
