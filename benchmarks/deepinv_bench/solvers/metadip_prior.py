"""metadip in the benchmarks of deepinv: a solver file of benchopt.

Copy it into ``solvers/`` of a benchmark of https://github.com/deepinv/benchmarks; the README beside
it tells how.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from benchopt import BaseSolver

import metadip


def model_of(prior: str, steps: int | None, device: torch.device | str = "cpu") -> Any:
    """Return a reconstructor that is called with (y, physics), as benchmarks ask for."""
    model = metadip.load(prior, steps=steps).to(device)
    model.device = torch.device(device)  # to which the benchmark brings its test data
    return model


class Solver(BaseSolver):  # type: ignore[misc]  # benchopt has no types
    """A meta-learned prior; nothing is trained here."""

    name = "metadip"
    parameters: ClassVar = {
        "prior": ["photo"],
        "steps": [None],
    }  # a released name; None: its own number
    requirements: ClassVar = ["pip::metadip"]
    sampling_strategy = "run_once"

    def set_objective(self, train_dataset: Any = None, physics: Any = None) -> None:
        """Build the model; the benchmark's training data and operator are not needed for that."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = model_of(self.prior, self.steps, device)

    def run(self, _: Any) -> None:
        """Do nothing: benchmarks call the model themselves."""

    def get_result(self) -> dict[str, Any]:
        """Return the model."""
        return {"model": self.model}
