"""Several random starts of a fit, of which the result that explains the measurement best counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from metadip.fitting import Execution, measured
from metadip.fitting.rules import Optimizer
from metadip.methods.fit import FitReconstructor
from metadip.priors import Representation
from metadip.seeding import Stream, seed_of
from metadip.types import Estimate, FitResult, InverseProblem, Objective, UserError

Run = Callable[[Sequence[InverseProblem], Sequence[Any]], list[FitResult]]


def best_of(
    problems: Sequence[InverseProblem], run: Run, *, restarts: int, hooks: Sequence[Any]
) -> list[FitResult]:
    """Return, for each problem, the result with the smallest ||A(x_hat) - y|| / ||y||.

    Start 0 has the seed of the problem, the others each their own. The results state the residuals
    of all, and their time is that of all. No ground truth is used.

    Args:
        problems: to solve.
        run: solves problems, watched by hooks.
        restarts: number of starts, at least 1.
        hooks: watch every start.
    """
    tries = [run(_started(problems, number), hooks) for number in range(restarts)]
    if restarts == 1:
        return tries[0]
    return [
        _kept(problem, results)
        for problem, results in zip(problems, zip(*tries, strict=True), strict=True)
    ]


def _started(problems: Sequence[InverseProblem], number: int) -> list[InverseProblem]:
    """Return the problems with the seeds of a start."""
    if number == 0:
        return list(problems)
    return [replace(p, seed=seed_of(p.seed, Stream.RESTART, number)) for p in problems]


def _kept(problem: InverseProblem, results: Sequence[FitResult]) -> FitResult:
    """Return the best of several results, which says how far each was off."""
    residuals = [residual_of(problem, result) for result in results]
    best = min(range(len(results)), key=lambda number: residuals[number])
    stated = {"residuals": residuals, "kept": best}
    return results[best]._replace(
        seconds=sum(result.seconds for result in results),
        checks={**results[best].checks, "restarts": stated},
    )


def residual_of(problem: InverseProblem, result: FitResult) -> float:
    """Return ||A(x_hat) - y|| / ||y||; infinity where that is no number."""
    operator = {} if result.estimate is None else result.estimate.operator
    with torch.no_grad():
        y_hat, y = measured([problem], Estimate(result.x_hat, operator))
        found = float((y_hat - y).norm() / y.norm())
    return math.inf if math.isnan(found) else found


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

        def run(these: Sequence[InverseProblem], watching: Sequence[Any]) -> list[FitResult]:
            return super(Restarted, self).reconstruct(these, hooks=watching)

        return best_of(problems, run, restarts=self.restarts, hooks=hooks)
