"""Rectified Adam as a pure rule."""

from __future__ import annotations

import math
from typing import Any

import torch

from metadip.fitting.adam import MultiStep
from metadip.fitting.rules import State, Tensors
from metadip.registry import registered
from metadip.types import Start

TRACTABLE = 5.0  # length of the average from which on its variance can be estimated


@registered("radam")
class RAdam:
    """Adam whose first steps are plain momentum, until the second moment can be trusted.

    Model:
        As ``Adam``, with the step times sqrt((p_k - 4)(p_k - 2) p / ((p - 4)(p - 2) p_k)), where
        p = 2 / (1 - b2) - 1 and p_k = p - 2 k b2^k / (1 - b2^k) for step k = 1, 2, ...; while
        p_k <= 5 the step is lr m_hat.
    Args:
        lr: step size, above 0, or a schedule of it; 0.1 in DIP-SURE.
        betas: b1 and b2, each in [0, 1).
        eps: at least 0.
    Raises:
        ValueError: If an argument is outside the range given here.
    References:
        Liu et al. (2020), On the Variance of the Adaptive Learning Rate and Beyond,
        arXiv:1908.03265.
    """

    description: dict[str, Any]
    slots = 2  # both moments

    def __init__(
        self,
        *,
        lr: float | MultiStep,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        first = lr if isinstance(lr, int | float) else lr(0)
        if first <= 0 or eps < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"bad RAdam arguments: lr {lr}, betas {betas}, eps {eps}")
        self.lr, self.betas, self.eps = lr, betas, eps

    def bind(self, start: Start) -> tuple[tuple[str, ...], RAdam]:
        """Update all weights and no inputs."""
        return tuple(start.weights), self

    def init(self, params: Tensors) -> State:
        """Return zero moments."""
        return torch._foreach_mul(params, 0.0), torch._foreach_mul(params, 0.0)

    def update(
        self, params: Tensors, grads: Tensors, state: State, step: int
    ) -> tuple[Tensors, State]:
        """See ``Rule.update``."""
        (b1, b2), k = self.betas, step + 1
        first = torch._foreach_lerp(state[0], grads, 1 - b1)
        second = torch._foreach_lerp(state[1], torch._foreach_mul(grads, grads), 1 - b2)
        lr = self.lr if isinstance(self.lr, int | float) else self.lr(step)
        direction = torch._foreach_mul(first, lr / (1 - b1**k))
        longest = 2 / (1 - b2) - 1
        length = longest - 2 * k * b2**k / (1 - b2**k)
        if length > TRACTABLE:
            rectified = math.sqrt(
                (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            )
            root = torch._foreach_add(torch._foreach_sqrt(second), self.eps)
            factor = rectified * math.sqrt(1 - b2**k)
            direction = torch._foreach_mul(torch._foreach_div(direction, root), factor)
        return torch._foreach_sub(params, direction), (first, second)
