"""Gradient descent with a fixed step size, as a pure rule."""

from __future__ import annotations

import torch

from metadip.fitting.adam import MultiStep
from metadip.fitting.rules import State, Tensors
from metadip.registry import registered
from metadip.types import Start


@registered("sgd")
class SGD:
    """Descend along the gradient, with or without momentum.

    Model:
        v_{k+1} = momentum v_k + g_k, theta -= lr_k v_{k+1}, v_0 = 0. For learned step sizes see
        ``MomentumSGD``.
    Args:
        lr: step size, above 0, or a schedule of it.
        momentum: in [0, 1); 0 keeps no state.
    Raises:
        ValueError: If an argument is outside the range given here.
    """

    def __init__(self, *, lr: float | MultiStep, momentum: float) -> None:
        first = lr if isinstance(lr, int | float) else lr(0)
        if not first > 0 or not 0 <= momentum < 1:
            raise ValueError(f"need lr > 0 and momentum in [0, 1), got {first} and {momentum}")
        self.lr, self.momentum = lr, momentum
        self.slots = 1 if momentum else 0  # the velocity

    def bind(self, start: Start) -> tuple[tuple[str, ...], SGD]:
        """Update all weights and no inputs."""
        return tuple(start.weights), self

    def init(self, params: Tensors) -> State:
        """Return zero velocities, or an empty state without momentum."""
        return (torch._foreach_mul(params, 0.0),) if self.slots else ()

    def update(
        self, params: Tensors, grads: Tensors, state: State, step: int
    ) -> tuple[Tensors, State]:
        """See ``Rule.update``."""
        lr = self.lr if isinstance(self.lr, int | float) else self.lr(step)
        if not state:
            return torch._foreach_sub(params, torch._foreach_mul(grads, lr)), ()
        velocity = torch._foreach_add(torch._foreach_mul(state[0], self.momentum), grads)
        return torch._foreach_sub(params, torch._foreach_mul(velocity, lr)), (velocity,)
