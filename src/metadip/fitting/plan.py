"""The images to fit, and what all fits of one call share."""

from __future__ import annotations

from typing import NamedTuple

from metadip.fitting.execution import Execution
from metadip.fitting.rules import Optimizer
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
