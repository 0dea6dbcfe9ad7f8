"""Find the blur kernel from strong edges, then the image by a method that has to know it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from deepinv.models import Reconstructor
from deepinv.physics import Physics
from torch import Tensor

from metadip.fitting import Execution
from metadip.fitting.rules import Optimizer
from metadip.methods.fit import FitReconstructor
from metadip.methods.kernel_grid import (
    SMALLEST_PX,
    check_blurred,
    check_kernel_px,
    resolved,
    widened,
)
from metadip.methods.method import Method
from metadip.methods.sharp_edges import kernels
from metadip.physics.kernel_blur import KernelBlur
from metadip.physics.noise_level import estimated_noise_std
from metadip.physics.splitting import ImageShape, Measured, split
from metadip.priors import Representation
from metadip.tasks.arguments import as_grey
from metadip.types import Estimate, FitResult, InverseProblem, Objective, UserError

logger = logging.getLogger(__name__)
LARGEST_PX = 63  # of the grid where none is asked for: more of it is open to noise


class KernelFirst(Reconstructor):
    """Find a blur kernel of unknown size from strong edges, then the image.

    Model:
        The kernel is that of ``sharp_edges.kernels``, from the luminance of colours and the noise
        that y shows. The image is that of ``then``, which is told the kernel, and solves for all of
        the image that y depends on.
    Shape:
        See ``BlindDeblurring``.
    Args:
        then: a method for known kernels.
        kernel_px: odd side of the kernel's grid, at least that of the blur; None for about a
            quarter of the smaller side of y, at most 63 px: on much larger grids than the blur's
            strong noise can lead to wrong kernels.
        rounds: of the updates of kernel and image on each scale, at least 1.
    Raises:
        UserError: If an argument is out of range; see also ``BlindDeblurring``.
    References:
        Xu, Zheng and Jia (2013), Unnatural L0 Sparse Representation for Natural Image Deblurring.
    """

    def __init__(self, then: Method, *, kernel_px: int | None, rounds: int) -> None:
        super().__init__()
        check_kernel_px(kernel_px)
        if rounds < 1:
            raise UserError(f"method.rounds={rounds} must be at least 1")
        self.then: Any = then  # also a module
        self.kernel_px, self.rounds = kernel_px, rounds

    @property
    def image_channels(self) -> int | None:
        """The channels of the method for the image."""
        channels: int | None = self.then.image_channels
        return channels

    def _side(self, problem: InverseProblem) -> int:
        quarter = min(problem.y.shape[-2:]) // 4 | 1
        return self.kernel_px or max(SMALLEST_PX, min(quarter, LARGEST_PX))

    def check(self, problem: InverseProblem, *, task: str) -> None:
        """Raise ``UserError`` unless the problem is a blur that both parts can undo."""
        side = self._side(problem)
        check_blurred(problem, side, task=task)
        flat = torch.full((1, 1, side, side), 1 / side**2)
        self.then.check(_told(problem, widened(problem, side), flat), task=task)

    def forward(
        self,
        y: Measured,
        physics: Physics,
        *,
        image_shape: ImageShape | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the reconstructions of a batch of measurements, see ``splitting.split``."""
        seed = getattr(self.then, "seed", 0)
        problems = split(y, physics, image_shape=image_shape, seed=seed)
        return torch.cat([result.x_hat for result in self.reconstruct(problems)])

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Reconstruct every problem; hooks watch the method for the image."""
        for problem in problems:
            self.check(problem, task=type(problem.physics).__name__)
        return [self._solve(problem, hooks) for problem in problems]

    def _solve(self, problem: InverseProblem, hooks: Sequence[Any]) -> FitResult:
        started = time.perf_counter()
        side = self._side(problem)
        wide = widened(problem, side)
        if self.kernel_px is None:
            logger.info(
                "the kernel is sought on a grid of %d px: method.kernel_px sets another",
                side,
            )
        with torch.inference_mode(False), torch.no_grad():
            grey = as_grey(problem.y).clone()
            noise_std = float(estimated_noise_std(grey))
            *_, k = kernels(grey, side=side, noise_std=noise_std, rounds=self.rounds)
        seconds = time.perf_counter() - started
        (result,) = self.then.reconstruct([_told(problem, wide, k)], hooks=hooks)
        estimate = result.estimate or Estimate(result.x_hat)
        found = result._replace(
            estimate=estimate._replace(operator={"filter": k}), seconds=seconds + result.seconds
        )
        with torch.inference_mode(False):
            return resolved(problem, wide, found)


def _told(problem: InverseProblem, wide: InverseProblem, k: Tensor) -> InverseProblem:
    """Return the wide problem with a kernel, and the noise as it was told."""
    physics = KernelBlur(k).to(problem.y.device)
    physics.noise_model = problem.physics.noise_model
    return replace(wide, physics=physics)


def kernel_first_then_fit(
    prior: Representation,
    *,
    kernel_px: int | None,
    rounds: int,
    objective: Objective,
    optimizer: Optimizer,
    steps: int,
    callbacks: Sequence[Any] = (),
    execution: Execution | None = None,
    seed: int = 0,
) -> KernelFirst:
    """Return ``KernelFirst`` with a fit of the image.

    Args:
        prior: generates the image.
        kernel_px, rounds: see ``KernelFirst``.
        objective, optimizer, steps, callbacks, execution, seed: of the fit.
    """
    fit = FitReconstructor(
        prior, objective=objective, optimizer=optimizer, steps=steps, callbacks=callbacks,
        execution=execution, seed=seed,
    )  # fmt: skip
    return KernelFirst(fit, kernel_px=kernel_px, rounds=rounds)
