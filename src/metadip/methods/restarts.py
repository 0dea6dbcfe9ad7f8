"""Fits that are tried several times, or begin at the result of another method."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from deepinv.physics import Denoising

from metadip.fitting import Execution, Sum, fit, measured, mse
from metadip.fitting.rules import Optimizer
from metadip.methods.fit import FitReconstructor
from metadip.methods.method import Method
from metadip.physics.far_field import FarField
from metadip.physics.symmetries import upright
from metadip.priors import Representation
from metadip.seeding import Stream, seed_of
from metadip.types import Estimate, FitResult, InverseProblem, Objective, UserError


class Restarted(FitReconstructor):
    """Fit several times from random starts, and keep the result that explains y best.

    Model:
        Start 0 draws from the seed of the problem, the others each from their own. The result with
        the lowest ||A(x_hat) - y|| / ||y|| is kept, with its curves, its checks stating all; the
        time is that of all. Losses without convexity, as those of phase retrieval, have minima
        that are not the truth.
    Shape:
        See ``FitReconstructor``.
    Args:
        prior: where fits start.
        objective: what is minimised.
        optimizer: the update rule.
        steps: weight updates of each try.
        restarts: number of tries, at least 1.
        callbacks: hooks, copied for every try.
        execution: see ``fit``.
        seed: see ``FitReconstructor``.
    Raises:
        UserError: If ``restarts`` is below 1.
    """

    def __init__(
        self,
        prior: Representation,
        *,
        objective: Objective,
        optimizer: Optimizer,
        steps: int,
        restarts: int,
        callbacks: Sequence[Any] = (),
        execution: Execution | None = None,
        seed: int = 0,
    ) -> None:
        if restarts < 1:
            raise UserError(f"method.restarts={restarts} must be at least 1")
        super().__init__(
            prior, objective=objective, optimizer=optimizer, steps=steps, callbacks=callbacks,
            execution=execution, seed=seed,
        )  # fmt: skip
        self.restarts = restarts

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Fit every problem as often as asked; hooks see every try."""
        tries = [self._try(problems, hooks, attempt) for attempt in range(self.restarts)]
        return [
            self._kept(problem, results)
            for problem, results in zip(problems, zip(*tries, strict=True), strict=True)
        ]

    def _try(
        self, problems: Sequence[InverseProblem], hooks: Sequence[Any], attempt: int
    ) -> list[FitResult]:
        seeded = [
            replace(p, seed=seed_of(p.seed, Stream.RESTART, attempt)) if attempt else p
            for p in problems
        ]
        return super().reconstruct(seeded, hooks=hooks)

    def _kept(self, problem: InverseProblem, results: Sequence[FitResult]) -> FitResult:
        residuals = [residual_of(problem, result) for result in results]
        best = min(range(len(results)), key=lambda attempt: residuals[attempt])
        stated = {"residuals": residuals, "kept": best}
        kept = results[best]
        return kept._replace(
            seconds=sum(result.seconds for result in results),
            checks={**kept.checks, "restarts": stated},
        )


def residual_of(problem: InverseProblem, result: FitResult) -> float:
    """Return ||A(x_hat) - y|| / ||y||; infinity where that is no number."""
    operator = {} if result.estimate is None else result.estimate.operator
    with torch.no_grad():
        y_hat, y = measured([problem], Estimate(result.x_hat, operator))
        found = float((y_hat - y).norm() / y.norm())
    return math.inf if math.isnan(found) else found


class AfterAnother(Restarted):
    """Fit from the result of another method: first to that image, then to y.

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
        image = found.x_hat
        if isinstance(problem.physics, FarField):
            image = upright(image)  # far from phases of pi, where a network would have to wrap
        target = replace(
            problem, y=image, physics=Denoising().to(image.device), x=None, reading=None
        )
        (near,) = fit(
            [target], prior, Sum(mse), self.optimizer, steps=self.first_steps,
            execution=self.execution,
        )  # fmt: skip
        assert near.end is not None
        (result,) = fit(
            [problem], prior, self.objective, self.optimizer, steps=self.steps, starts=[near.end],
            hooks=[*copy.deepcopy(self.callbacks), *hooks], execution=self.execution,
        )  # fmt: skip
        stated = {"residuals": [residual_of(problem, r) for r in (found, result)]}
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
