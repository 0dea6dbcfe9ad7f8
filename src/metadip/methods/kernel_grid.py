"""Problems of an image and a kernel of unknown size: how they are posed, and how they are read."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metadip.fitting import measured
from metadip.physics.kernel_blur import KernelBlur
from metadip.physics.shifts import BestWindow, moved, off_centre, similarity, windowed
from metadip.tasks.arguments import as_grey
from metadip.types import Estimate, FitResult, InverseProblem, UserError

SMALLEST_PX = 3


def check_kernel_px(kernel_px: int | None) -> None:
    """Raise ``UserError`` unless a side is odd, and at least 3, or None."""
    if kernel_px is not None and (kernel_px < SMALLEST_PX or kernel_px % 2 == 0):
        raise UserError(
            f"method.kernel_px={kernel_px} must be an odd number of pixels of at least "
            f"{SMALLEST_PX}: a kernel needs a pixel in its centre"
        )


def check_blurred(problem: InverseProblem, side: int, *, task: str) -> None:
    """Raise ``UserError`` unless a problem is a blur, of an image larger than the kernel."""
    if not isinstance(problem.physics, KernelBlur):
        raise UserError(
            f"this method undoes an unknown blur (task=blind_deblur), not {task}; task=cdi has "
            "method=double_dip, too"
        )
    height, width = problem.y.shape[-2:]
    if side > min(height, width):
        raise UserError(
            f"method.kernel_px={side} is larger than what was measured, {height} x {width} px: use "
            "a smaller kernel or a larger image"
        )


def side_of(kernel_px: int | None, problem: InverseProblem) -> int:
    """Return the side of the kernel's grid: about half of the smaller side of y if not given."""
    return kernel_px or max(SMALLEST_PX, min(problem.y.shape[-2:]) // 2 | 1)


def widened(problem: InverseProblem, side: int, *, grey: bool = False) -> InverseProblem:
    """Return the problem of all of the image that y depends on, whose kernel a method estimates.

    The scale makes the data term the mean over y, whatever the size of the kernel.

    Args:
        problem: as it was given.
        side: of the kernel's grid.
        grey: take the luminance of colours.
    """
    y, x = problem.y, problem.x
    if grey:
        y, x = as_grey(y), None if x is None else as_grey(x)
    rows, columns = int(y.shape[-2]), int(y.shape[-1])
    height, width = rows + side - 1, columns + side - 1
    return replace(
        problem,
        y=y,
        x=x,
        image_shape=(int(y.shape[1]), height, width),
        scale=math.sqrt(height * width / (rows * columns)),
        reading=BestWindow(rows, columns),
        unknown=(),
    )


def resolved(problem: InverseProblem, wide: InverseProblem, result: FitResult) -> FitResult:
    """Return a result whose kernel is centred, with the image of the problem's shape.

    Model:
        Image and kernel may be moved against one another: y = k * x stays. The mass of the kernel
        is brought to its centre, and the image the other way.
    Args:
        problem: as it was given.
        wide: see ``widened``.
        result: of ``wide``, with the kernel in its estimate; colours that it lacks are those of y.
    """
    assert result.estimate is not None
    k = result.estimate.operator["filter"]
    shift = off_centre(k)
    centred = moved(k, -shift[0], -shift[1])
    sides = [n - m + 1 for n, m in zip(problem.image_shape[1:], problem.y.shape[-2:], strict=True)]
    top, left = (
        (side - own) // 2 - off for side, own, off in zip(k.shape[-2:], sides, shift, strict=True)
    )
    x = windowed(result.x_hat, top, left, problem.image_shape[1:])
    x = _with_colours(x, problem.y, sides)
    with torch.no_grad():
        y_hat, y = measured([wide], Estimate(result.x_hat, {"filter": k}))
    stated: dict[str, Any] = {
        "kernel_px": int(k.shape[-1]),
        "shift_px": list(shift),
        "residual": float((y_hat - y).norm() / y.norm()),
    }
    if problem.physics.filter.numel() > 1:
        stated["kernel_similarity"] = similarity(k, problem.physics.filter)
    return result._replace(
        x_hat=x,
        estimate=result.estimate._replace(operator={"filter": centred / centred.sum()}),
        checks={**result.checks, "blind": stated},
    )


def _with_colours(x: Tensor, y: Tensor, sides: list[int]) -> Tensor:
    """Return an image with the colours of y where it is only their luminance."""
    if x.shape[1] == y.shape[1]:
        return x
    size = int(x.shape[-2]), int(x.shape[-1])
    return x + windowed(y - as_grey(y), -(sides[0] // 2), -(sides[1] // 2), size)
