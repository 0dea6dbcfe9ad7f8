"""What is found beside an image, as pictures and files: blur kernels, and parts of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import interpolate

from metadip.files import atomic_path
from metadip.report.figures import save_image
from metadip.types import FitResult, InverseProblem

SHOWN_PX = 256  # least side of the picture of a kernel
KERNEL_FILES = ("kernel.png", "kernel.npy")


def save_extras(folder: Path, problem: InverseProblem, result: FitResult) -> None:
    """Write ``kernel.png`` and ``kernel.npy``, and the pictures of a reading that has some.

    ``kernel.npy`` holds the kernel (h, w) of sum 1, as ``task.kernel=FILE`` takes it; the picture
    is divided by its largest value. Files of an earlier run that do not belong here are removed.
    """
    kernel = kernel_of(result)
    if kernel is None:
        for name in KERNEL_FILES:
            (folder / name).unlink(missing_ok=True)
    else:
        save_image(folder / "kernel.png", kernel_picture(kernel))
        with atomic_path(folder / "kernel.npy") as temporary, temporary.open("wb") as stream:
            np.save(stream, kernel[0, 0].cpu().numpy())
    for name, picture in pictures_of(problem, result).items():
        save_image(folder / f"{name}.png", picture)


def kernel_of(result: FitResult) -> Tensor | None:
    """Return the kernel (1, 1, h, w) of a result of blind deblurring, None for others."""
    return None if result.estimate is None else result.estimate.operator.get("filter")


def kernel_picture(kernel: Tensor) -> Tensor:
    """Return a kernel as a picture whose largest value is white, its pixels enlarged."""
    factor = max(1, -(-SHOWN_PX // max(kernel.shape[-2:])))
    bright = kernel / kernel.max().clamp(min=1e-12)
    return interpolate(bright, scale_factor=factor, mode="nearest")


def pictures_of(problem: InverseProblem, result: FitResult) -> dict[str, Tensor]:
    """Return the pictures (1, C, H, W) by name that the reading of a problem makes of a result."""
    make: Any = getattr(problem.reading, "pictures", None)
    return {} if make is None else dict(make(result.x_hat, problem.x))


def scores_of(problem: InverseProblem, result: FitResult) -> dict[str, float]:
    """Return further scores that the reading of a problem gives a result, by name."""
    score: Any = getattr(problem.reading, "scores", None)
    return {} if score is None else dict(score(result.x_hat, problem.x))
