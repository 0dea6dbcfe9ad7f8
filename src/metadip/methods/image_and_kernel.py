"""Fit an image and its blur kernel at once: double deep image priors, and SelfDeblur."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from metadip.fitting import Adam, Execution, MultiStep, Sum, fit, mse
from metadip.fitting.rules import Optimizer
from metadip.methods.fit import FitReconstructor, check_start
from metadip.methods.kernel_grid import check_blurred, check_kernel_px, resolved, side_of, widened
from metadip.physics.kernel_blur import KernelBlur
from metadip.priors import ImageAndKernel
from metadip.types import FitResult, InverseProblem, Objective, UserError

REFINING_LR = 0.01  # of the image [authors' code]
REFINING = (0.7, 0.8, 0.9)  # of its steps, where the rate is halved [authors' code]


class BlindDeblurring(FitReconstructor):
    """Find an image and the kernel that blurred it, of unknown size and place.

    Model:
        min over both networks of L(k * x, y), the kernel on a grid of ``kernel_px`` and the image
        larger than y by that less 1, so that nothing is assumed beyond its border. Whatever the
        size of the true kernel, the data term is the mean over y. Afterwards the kernel is moved
        so that its mass is centred, and the image the other way, which explains y as well.
    Shape:
        Results have the shape of the unknown image of the problem, that of y where it is not
        known; ``estimate`` has the kernel (1, 1, h, w) as ``operator["filter"]`` and all of the
        image.
    Args:
        prior: generates images and kernels.
        objective: what is minimised.
        optimizer: the update rule; groups ``image.*`` and ``kernel.*``.
        steps: weight updates per image, at least 0.
        kernel_px: odd side of the kernel's grid, at least that of the blur; None for about half of
            the smaller side of y.
        callbacks: hooks, copied for every call.
        execution: see ``fit``.
        seed: see ``FitReconstructor``.
    Raises:
        UserError: If ``kernel_px`` is even or below 3; in ``check``, if it is larger than y, or the
            task is another.
    References:
        Zhuang et al. (2022), Blind Image Deblurring with Unknown Kernel Size and Substantial Noise,
        arXiv:2208.09483. Ren et al. (2020), arXiv:1908.02197.
    """

    prior: ImageAndKernel
    luminance = False  # whether colours stay as they are
    refine_steps = 0  # on the image alone, once the kernel is found

    def __init__(
        self,
        prior: ImageAndKernel,
        *,
        objective: Objective,
        optimizer: Optimizer,
        steps: int,
        kernel_px: int | None,
        callbacks: Sequence[Any] = (),
        execution: Execution | None = None,
        seed: int = 0,
    ) -> None:
        check_kernel_px(kernel_px)
        if not isinstance(prior, ImageAndKernel):
            raise UserError(
                "the prior must make an image and a kernel, as prior=double_dip and blind_blur do, "
                f"got {type(prior).__name__}"
            )
        super().__init__(
            prior, objective=objective, optimizer=optimizer, steps=steps, callbacks=callbacks,
            execution=execution, seed=seed,
        )  # fmt: skip
        self.kernel_px = kernel_px

    def check(self, problem: InverseProblem, *, task: str) -> None:
        """Raise ``UserError`` unless the problem is a blur, of an image larger than the kernel."""
        side = side_of(self.kernel_px, problem)
        check_blurred(problem, side, task=task)
        wide = widened(problem, side, grey=self.luminance)
        check_start(self._prior_for(wide, side), self.optimizer, wide, task=task)

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Fit every problem, one after another; ``hooks`` come after the callbacks."""
        return [self._solve(problem, hooks) for problem in problems]

    def _prior_for(self, wide: InverseProblem, side: int) -> ImageAndKernel:
        return self.prior.with_channels(wide.image_shape[0]).with_kernel_px(side)

    def _solve(self, problem: InverseProblem, hooks: Sequence[Any]) -> FitResult:
        side = side_of(self.kernel_px, problem)
        wide = widened(problem, side, grey=self.luminance)
        prior = self._prior_for(wide, side)
        (result,) = fit(
            [wide], prior, self.objective, self.optimizer, steps=self.steps,
            hooks=[*copy.deepcopy(self.callbacks), *hooks], execution=self.execution,
        )  # fmt: skip
        if self.refine_steps:
            result = self._refined(wide, prior, result, hooks)
        return resolved(problem, wide, result)

    def _refined(
        self, wide: InverseProblem, prior: ImageAndKernel, found: FitResult, hooks: Sequence[Any]
    ) -> FitResult:
        """Fit a fresh image with the kernel that was found; curves are those of this fit."""
        assert found.estimate is not None
        operator = found.estimate.operator
        milestones = sorted({int(part * self.refine_steps) for part in REFINING})
        (result,) = fit(
            [replace(wide, physics=KernelBlur(operator["filter"]).to(wide.y.device))],
            prior.image,
            Sum(mse),
            Adam(lr=MultiStep(REFINING_LR, milestones=milestones, factor=0.5)),
            steps=self.refine_steps,
            hooks=hooks,
            execution=self.execution,
        )
        assert result.estimate is not None
        return result._replace(
            estimate=result.estimate._replace(operator=operator),
            seconds=found.seconds + result.seconds,
            steps=found.steps + result.steps,
        )


class SelfDeblur(BlindDeblurring):
    """Find image and kernel as SelfDeblur does: colours by their luminance, image refined.

    The settings that make it so are in ``conf/method/selfdeblur.yaml``.
    """

    luminance = True

    @property
    def image_channels(self) -> int:
        """Read pictures in colour: their luminance is fitted."""
        return 3


def selfdeblur(
    prior: ImageAndKernel,
    *,
    objective: Objective,
    optimizer: Optimizer,
    steps: int,
    kernel_px: int | None,
    refine_steps: int,
    callbacks: Sequence[Any] = (),
    execution: Execution | None = None,
    seed: int = 0,
) -> SelfDeblur:
    """Return SelfDeblur, see ``BlindDeblurring`` for the other arguments.

    Args:
        refine_steps: weight updates of a fresh image with the kernel that was found, 0 for none;
            1000 in the authors' code.
    Raises:
        ValueError: If ``refine_steps`` is negative.
    """
    if refine_steps < 0:
        raise ValueError(f"refine_steps must be at least 0, got {refine_steps}")
    method = SelfDeblur(
        prior, objective=objective, optimizer=optimizer, steps=steps, kernel_px=kernel_px,
        callbacks=callbacks, execution=execution, seed=seed,
    )  # fmt: skip
    method.refine_steps = refine_steps
    return method
