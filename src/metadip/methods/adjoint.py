"""The back-projected measurement, the simplest image that a method can be compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from metadip.methods.iteration import Iterative
from metadip.types import InverseProblem, UserError


class Adjoint(Iterative):
    """Return A^T y: zero-filled images in MRI, the back-projection in tomography.

    Raises:
        UserError: When called, if the operator has no adjoint.
    """

    def __init__(self) -> None:
        super().__init__(None, images=_images, steps=1, check=_check, rescale=True)


def _check(problem: InverseProblem, _: Any, task: str) -> None:
    if not hasattr(problem.physics, "A_adjoint"):
        raise UserError(
            f"method=adjoint needs a linear operator, which {task} has not: use method=dip"
        )


def _images(problem: InverseProblem, _: Any) -> Iterator[Tensor]:
    """Yield A^T y, twice: there is no better start."""
    x: Tensor = problem.scale**2 * problem.physics.A_adjoint(problem.y)
    yield x
    yield x
