"""What every method looks like to a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from metadip.types import FitResult, InverseProblem

if TYPE_CHECKING:
    import torch


class Method(Protocol):
    """Reconstruct images from their measurements."""

    @property
    def image_channels(self) -> int | None:
        """Channels that pictures are read with; None: any."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Move what it holds; see ``torch.nn.Module.to``."""
        ...

    def check(self, problem: InverseProblem, *, task: str) -> None:
        """Refuse a problem that cannot be served by a ``UserError``; ``task`` is its name."""
        ...

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Return a result per problem; ``hooks`` watch as in ``metadip.fitting.fit``."""
        ...
