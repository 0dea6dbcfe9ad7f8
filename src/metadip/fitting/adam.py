"""Adam as a pure rule, with a step size that can fall at given steps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import torch

from metadip.fitting.rules import State, Tensors
from metadip.registry import registered
from metadip.types import Start


@registered("multi_step")
class MultiStep:
    """Multiply a step size by a factor at given steps.

    Model:
        lr_k = lr factor^m, with m the number of milestones that are at most k.
    Args:
        lr: initial step size, above 0.
        milestones: increasing steps.
        factor: above 0; 0.5 in SelfDeblur.
    Raises:
        ValueError: If an argument is outside the range given here.
    Example:
        >>> schedule = MultiStep(1.0, milestones=[2, 4], factor=0.5)
        >>> [schedule(step) for step in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    description: dict[str, Any]

    def __init__(self, lr: float, *, milestones: Sequence[int], factor: float) -> None:
        if lr <= 0 or factor <= 0 or list(milestones) != sorted(set(milestones)):
            raise ValueError(
                "need lr > 0, factor > 0 and increasing milestones, got "
                f"{lr}, {factor} and {list(milestones)}"
            )
        self.lr, self.milestones, self.factor = lr, list(milestones), factor

    def __call__(self, step: int) -> float:
        """Return the step size of an update, counted from 0."""
        return self.lr * self.factor ** bisect_right(self.milestones, step)


@registered("adam")
class Adam:
    """Adam as a pure rule.

    Model:
        m = b1 m + (1 - b1) g, s = b2 s + (1 - b2) g^2, theta -= lr_k m_hat /
        (sqrt(s_hat + eps_root) + eps), with bias-corrected m_hat and s_hat. ``eps_root`` > 0 keeps
        the rule differentiable where a gradient is zero.
    Args:
        lr: step size, above 0, or a schedule of it; 0.01 in the deep image prior.
        betas: b1 and b2, each in [0, 1).
        eps: at least 0.
        eps_root: at least 0.
    Raises:
        ValueError: If an argument is outside the range given here.
    References:
        Kingma and Ba (2015), Adam, arXiv:1412.6980.
    """

    description: dict[str, Any]
    slots = 2  # both moments

    def __init__(
        self,
        *,
        lr: float | MultiStep,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        eps_root: float = 0.0,
    ) -> None:
        first = lr if isinstance(lr, int | float) else lr(0)
        if first <= 0 or eps < 0 or eps_root < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"bad Adam arguments: lr {lr}, betas {betas}, eps {eps}, eps_root {eps_root}"
            )
        self.lr, self.betas, self.eps, self.eps_root = lr, betas, eps, eps_root

    def bind(self, start: Start) -> tuple[tuple[str, ...], Adam]:
        """Update all weights and no inputs."""
        return tuple(start.weights), self

    def init(self, params: Tensors) -> State:
        """Return zero moments."""
        return torch._foreach_mul(params, 0.0), torch._foreach_mul(params, 0.0)

    def update(
        self, params: Tensors, grads: Tensors, state: State, step: int
    ) -> tuple[Tensors, State]:
        """See ``Rule.update``."""
        b1, b2 = self.betas
        first = torch._foreach_lerp(state[0], grads, 1 - b1)
        second = torch._foreach_lerp(state[1], torch._foreach_mul(grads, grads), 1 - b2)
        scale = torch._foreach_mul(second, 1 / (1 - b2 ** (step + 1)))
        if self.eps_root:
            scale = torch._foreach_add(scale, self.eps_root)
        denominator = torch._foreach_add(torch._foreach_sqrt(scale), self.eps)
        lr = self.lr if isinstance(self.lr, int | float) else self.lr(step)
        direction = torch._foreach_mul(
            torch._foreach_div(first, denominator), lr / (1 - b1 ** (step + 1))
        )
        return torch._foreach_sub(params, direction), (first, second)
