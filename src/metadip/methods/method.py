"""The interface of a method, and what most methods need to be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from metadip.types import FitResult, InverseProblem, UserError

if TYPE_CHECKING:
    import torch


class Method(Protocol):
    """Reconstruct images from their measurements."""

    @property
    def image_channels(self) -> int | None:
        """Number of channels to read images with; None for any."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Move the method to a device; see ``torch.nn.Module.to``."""
        ...

    def check(self, problem: InverseProblem, *, task: str) -> None:
        """Raise ``UserError`` if a problem is not supported; ``task`` is the name of its task."""
        ...

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Return a result per problem; ``hooks`` watch as in ``metadip.fitting.fit``."""
        ...


def check_known(problem: InverseProblem, *, task: str) -> None:
    """Raise ``UserError`` if a problem hides something of its operator."""
    if problem.unknown:
        raise UserError(
            f"{task} hides the blur kernel from methods: use method=l0_wiener, l0_dip, double_dip, "
            "selfdeblur or richardson_lucy, or tell it (task.known=true)"
        )
