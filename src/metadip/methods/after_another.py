"""A fit that begins at the result of another method."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from deepinv.physics import Denoising

from metadip.fitting import Execution, Sum, fit, mse
from metadip.fitting.rules import Optimizer
from metadip.methods.method import Method
from metadip.methods.restarts import Restarted, residual_of
from metadip.physics.far_field import FarField
from metadip.physics.symmetries import upright
from metadip.priors import Representation
from metadip.types import FitResult, InverseProblem, Objective, UserError


class AfterAnother(Restarted):
    """Fit from the result of another method: first to that image, then to y.

    Of the two images the one that explains y better is kept.

    Args:
        first: makes the image.
        first_steps: weight updates to that image.
        fitting: further arguments of ``Restarted``.
    """

    def __init__(
        self, prior: Representation, *, first: Method, first_steps: int, **fitting: Any
    ) -> None:
        super().__init__(prior, **fitting)
        self.first, self.first_steps = first, first_steps

    def check(self, problem: InverseProblem, *, task: str) -> None:
        """Raise ``UserError`` if one of both methods does not serve a problem."""
        self.first.check(problem, task=task)
        super().check(problem, task=task)

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Fit every problem."""
        return [self._after(problem, hooks) for problem in problems]

    def _after(self, problem: InverseProblem, hooks: Sequence[Any]) -> FitResult:
        (found,) = self.first.reconstruct([problem])
        prior = self.prior.with_channels(problem.image_shape[0])
        with torch.inference_mode(False):  # fits need ordinary tensors
            image = found.x_hat.clone()
            if isinstance(problem.physics, FarField):
                image = upright(image)  # far from phases of pi, where a network would have to wrap
            identity = Denoising().to(image.device)
        target = replace(problem, y=image, physics=identity, x=None, reading=None)
        (near,) = fit(
            [target], prior, Sum(mse), self.optimizer, steps=self.first_steps,
            execution=self.execution,
        )  # fmt: skip
        assert near.end is not None
        (result,) = fit(
            [problem], prior, self.objective, self.optimizer, steps=self.steps, starts=[near.end],
            hooks=[*copy.deepcopy(self.callbacks), *hooks], execution=self.execution,
        )  # fmt: skip
        gaps = [residual_of(problem, r) for r in (found, result)]
        if gaps[0] < gaps[1]:
            result = result._replace(x_hat=found.x_hat, estimate=found.estimate)
        stated = {"residuals": gaps, "kept": "first" if gaps[0] < gaps[1] else "fit"}
        return result._replace(
            seconds=found.seconds + near.seconds + result.seconds,
            checks={**result.checks, "first_and_fit": stated},
        )


def after_another(
    prior: Representation,
    *,
    first: Method,
    first_steps: int,
    objective: Objective,
    optimizer: Optimizer,
    steps: int,
    callbacks: Sequence[Any] = (),
    execution: Execution | None = None,
    seed: int = 0,
) -> AfterAnother:
    """Return a fit from the result of another method; see ``AfterAnother``.

    Args:
        first: makes the image.
        first_steps: weight updates to that image, at least 1.
        objective, optimizer, steps, callbacks, execution, seed: of the fit to y.
    Raises:
        UserError: If ``first_steps`` is below 1.
    """
    if first_steps < 1:
        raise UserError(f"method.first_steps={first_steps} must be at least 1")
    return AfterAnother(
        prior, first=first, first_steps=first_steps, objective=objective, optimizer=optimizer,
        steps=steps, restarts=1, callbacks=callbacks, execution=execution, seed=seed,
    )  # fmt: skip
