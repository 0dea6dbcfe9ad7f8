"""Options of the functional engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FunctionalOptions:
    """Options of the functional engine; the defaults give the exact gradient in little memory.

    Args:
        reptile: learn by Reptile: theta_0 receives theta_0 - theta_K, and nothing else learns.
        keep_every: keep weights and velocity of every s-th step only, and recompute the others, at
            least 1; saves memory in long inner loops, at the time of one more inner loop.
        keep_graphs: keep the graph of every step instead: nothing is computed twice, but memory
            grows with K as in learn2learn.
        stacked: compute the tasks of a batch together with their weights stacked, or in turn; None
            stacks on a GPU.
    Raises:
        ValueError: If ``keep_every`` is below 1, or ``keep_graphs`` is combined with ``reptile`` or
            a ``keep_every`` above 1.
    References:
        Nichol et al. (2018), Reptile, arXiv:1803.02999.
    """

    reptile: bool = False
    keep_every: int = 1
    keep_graphs: bool = False
    stacked: bool | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.keep_every < 1 or (self.keep_graphs and self.keep_every > 1):
            raise ValueError(
                "keep_every must be at least 1, and above 1 needs functional.keep_graphs=false, "
                f"got {self.keep_every}"
            )
        if self.keep_graphs and self.reptile:
            raise ValueError("reptile needs functional.keep_graphs=false")
