"""Several random starts of a fit, of which the one that explains the measurement best counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from metadip.fitting import Execution, measured
from metadip.fitting.rules import Optimizer
from metadip.methods.fit import FitReconstructor
from metadip.priors import Representation
from metadip.seeding import seed_of
from metadip.types import Estimate, FitResult, InverseProblem, Objective

RESTART = 900_317  # arbitrary, so that restarts share no seed with other images
Run = Callable[[Sequence[InverseProblem], Sequence[Any]], list[FitResult]]


def best_of(
    problems: Sequence[InverseProblem], run: Run, *, restarts: int, hooks: Sequence[Any]
) -> list[FitResult]:
    """Return, for each problem, the result of the start with the smallest ||A(x_hat) - y||.

    The best start of several is run again, watched by the hooks: they see one fit, and its result
    is that of the first time. Its time includes all runs. No ground truth is used.

    Args:
        problems: to solve; the first start is that of their own seed.
        run: solves problems, watched by hooks.
        restarts: number of starts, at least 1.
        hooks: watch the fit that counts.
    """
    if restarts == 1:
        return run(problems, hooks)
    tries = [_started(problems, number) for number in range(restarts)]
    results = [run(these, ()) for these in tries]
    best = [
        min(range(restarts), key=lambda number, i=i: _misfit(problems[i], results[number][i]))  # type: ignore[misc]
        for i in range(len(problems))
    ]
    chosen = run([tries[number][i] for i, number in enumerate(best)], hooks)
    spent = [sum(result[i].seconds for result in results) for i in range(len(problems))]
    return [
        result._replace(
            seconds=result.seconds + before, checks={**result.checks, "restart": {"best": number}}
        )
        for result, before, number in zip(chosen, spent, best, strict=True)
    ]


def _started(problems: Sequence[InverseProblem], number: int) -> list[InverseProblem]:
    """Return the problems with the seeds of a start; the first keeps theirs."""
    if number == 0:
        return list(problems)
    return [replace(p, seed=seed_of(p.seed, RESTART, number)) for p in problems]


def _misfit(problem: InverseProblem, result: FitResult) -> float:
    y_hat, y = measured([problem], Estimate(result.x_hat))
    return float((y_hat - y).abs().square().sum())


class RestartedFit(FitReconstructor):
    """Fit from several random starts, and return the fit that explains the measurement best.

    Args:
        prior, objective, optimizer, steps: see ``FitReconstructor``.
        restarts: number of starts, at least 1.
        callbacks, execution, seed: see ``FitReconstructor``.
    Raises:
        ValueError: If ``restarts`` is below 1; see also ``FitReconstructor``.
    Cost: ``restarts`` + 1 fits, or one if it is 1.
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
            raise ValueError(f"restarts must be at least 1, got {restarts}")
        super().__init__(
            prior, objective=objective, optimizer=optimizer, steps=steps, callbacks=callbacks,
            execution=execution, seed=seed,
        )  # fmt: skip
        self.restarts = restarts

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Fit every problem; see ``FitReconstructor.reconstruct``."""
        return best_of(
            problems,
            lambda these, watching: super(RestartedFit, self).reconstruct(these, hooks=watching),
            restarts=self.restarts,
            hooks=hooks,
        )
