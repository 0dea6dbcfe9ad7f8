"""The images to fit, and what all fits of one call share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from metadip.fitting.execution import Execution
from metadip.fitting.rules import Optimizer
from metadip.fitting.step import starts_of
from metadip.priors import Representation
from metadip.types import InverseProblem, Objective, Start


class FitPlan(NamedTuple):
    """What all images in a call of ``fit`` share, except their number of channels."""

    representation: Representation
    objective: Objective
    optimizer: Optimizer
    steps: int
    execution: Execution


class Job(NamedTuple):
    """One image to fit, and where its fit starts; None for the start of the representation."""

    problem: InverseProblem
    given: Start | None = None

    def start(self, plan: FitPlan) -> Start:
        """Return where the fit starts."""
        return plan.representation.start(self.problem) if self.given is None else self.given


def starts_of_jobs(jobs: Sequence[Job], plan: FitPlan) -> list[Start]:
    """Return where each fit starts; either all starts are given or none."""
    given = [job.given for job in jobs if job.given is not None]
    return given or starts_of(plan.representation, [job.problem for job in jobs])


def check_problems(problems: Sequence[InverseProblem], starts: Sequence[Start] | None) -> None:
    """Check the problems of one call of ``fit``.

    Raises:
        ValueError: If there are none, one is of several images, or the number of starts differs
            from theirs.
    """
    if not problems:
        raise ValueError("nothing to fit: the list of problems is empty")
    if any(problem.n_images != 1 for problem in problems):
        raise ValueError("a problem is of several images: see InverseProblem.apart")
    if starts is not None and len(starts) != len(problems):
        raise ValueError(f"need a start for each problem, got {len(starts)} for {len(problems)}")
