"""Blind Richardson-Lucy deconvolution, the classical way to two unknowns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from deepinv.models import Reconstructor
from deepinv.physics import Physics
from torch import Tensor

from metadip.methods.iteration import watch
from metadip.methods.kernel_grid import check_blurred, check_kernel_px, resolved, side_of, widened
from metadip.physics.kernel_blur import convolve, correlate
from metadip.physics.shifts import windowed
from metadip.physics.splitting import ImageShape, Measured, split
from metadip.types import Estimate, FitResult, InverseProblem, UserError

DARKEST = 1e-6  # of what is divided by


class RichardsonLucy(Reconstructor):
    """Find an image and its blur kernel by multiplicative updates in turn.

    Model:
        With r = y / (k * x): k <- k (x correlated with r) / sum, then x <- x (k correlated with r)
        / (k correlated with 1). Image and kernel stay non-negative, and the kernel sums to 1. x
        starts as y, its border repeated, k as a Gaussian. Noise below 0 is cut.
    Shape:
        See ``BlindDeblurring``.
    Args:
        kernel_px: odd side of the kernel, or None for about half of the smaller side of y.
        iterations: few, since noise grows with them; 0 returns y as it is.
    Raises:
        UserError: If an argument is out of range; see also ``BlindDeblurring``.
    References:
        Fish et al. (1995), Blind Deconvolution by Means of the Richardson-Lucy Algorithm.
    """

    image_channels = None

    def __init__(self, *, kernel_px: int | None, iterations: int) -> None:
        super().__init__()
        check_kernel_px(kernel_px)
        if iterations < 0:
            raise UserError(f"method.iterations={iterations} must be at least 0")
        self.kernel_px, self.iterations = kernel_px, iterations

    def check(self, problem: InverseProblem, *, task: str) -> None:
        """Raise ``UserError`` unless the problem is a blur, of an image larger than the kernel."""
        check_blurred(problem, side_of(self.kernel_px, problem), task=task)

    def forward(
        self,
        y: Measured,
        physics: Physics,
        *,
        image_shape: ImageShape | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the reconstructions of a batch of measurements, see ``splitting.split``."""
        problems = split(y, physics, image_shape=image_shape)
        return torch.cat([result.x_hat for result in self.reconstruct(problems)])

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Reconstruct every problem; hooks see the start as step 0."""
        results = []
        with torch.inference_mode(False), torch.no_grad():
            for problem in problems:
                self.check(problem, task=type(problem.physics).__name__)
                side = side_of(self.kernel_px, problem)
                wide = widened(problem, side)
                found = watch(wide, _updates(wide.y, side), steps=self.iterations, hooks=hooks)
                results.append(resolved(problem, wide, found))
        return results


def _updates(y: Tensor, side: int) -> Iterator[Estimate]:
    """Yield the start, and then image and kernel after each pair of updates."""
    y = y.clamp(min=0)
    reach = side // 2
    x = windowed(y, -reach, -reach, (y.shape[-2] + side - 1, y.shape[-1] + side - 1))
    places = torch.arange(-reach, reach + 1, device=y.device) / max(side / 6, 1)
    bell = torch.exp(-places.square() / 2).to(y)
    k = (bell[:, None] * bell)[None, None]
    k = k / k.sum()
    while True:
        yield Estimate(x, {"filter": k})
        ratio = y / convolve(x, k).clamp(min=DARKEST)
        k = k * convolve(x, ratio.flip(-1, -2)).sum(1, keepdim=True).flip(-1, -2).clamp(min=0)
        k = k / k.sum()
        ratio = y / convolve(x, k).clamp(min=DARKEST)
        ones = correlate(torch.ones_like(ratio), k).clamp(min=DARKEST)
        x = x * correlate(ratio, k).clamp(min=0) / ones
