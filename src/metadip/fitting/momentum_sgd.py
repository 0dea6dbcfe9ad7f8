"""Momentum SGD whose step sizes can be learned, as a pure rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from metadip.fitting.rules import State, Tensors, matches
from metadip.types import Start

# alpha_k for k >= K, from the learned ones (K, n_tensors) and r = (k + 1) / K.
BEYOND: dict[str, Callable[[Tensor, float], Tensor]] = {
    "hold": lambda alpha, r: alpha[-1],
    "average": lambda alpha, r: alpha[-5:].mean(dim=0),
    "decay": lambda alpha, r: alpha[-1] / r,
    "adam": lambda alpha, r: alpha[-1],
}
SECOND_MOMENT_DECAY = 0.99  # of the handover to Adam, which lasts tens of steps
LR_DECAY = 1.5  # power of r; on validation faces, 1 ends up fitting noise, 2 stalls without noise
EPS = 1e-8  # Adam's own


class UpdateDerivatives(NamedTuple):
    """Derivatives with respect to the gradients and velocity of an update, and to the rule."""

    grads: Tensors
    velocity: Tensors
    rule: Tensors  # in the order of ``parameters()`` of the rule


class MomentumSGD(nn.Module):
    """Descend with momentum and a step size for every step, which meta-training can learn.

    Model:
        v_{k+1} = mu v_k + g_k, theta_{k+1} = theta_k - alpha_k v_{k+1}, v_0 = 0. log alpha_k (per
        step, or per step and weight tensor) and the logit of mu are learned, so that step sizes
        stay positive and momentum within (0, 1).

        Beyond the last learned step K, with r = (k + 1) / K: "hold" repeats alpha_K, "average"
        repeats the mean of the last five, "decay" uses alpha_K / r. "adam" hands over to Adam with
        the learned momentum: theta_{k+1} = theta_k - (1 - w) alpha_K v_{k+1} - w (adam_lr / r^1.5)
        (1 - mu) v_{k+1} / sqrt(s_hat), where w = min(r - 1, 1) and s_hat is the bias-corrected mean
        of g^2 since step K.
    Shape:
        ``log_lr``: (n_steps, n_tensors) or (n_steps, 1). Weights may carry a leading batch
        dimension.
    Args:
        lr: step size to start from, above 0.
        momentum: mu to start from, in [0, 1).
        n_steps: K, number of steps with their own step size.
        n_tensors: number of weight tensors for per-tensor step sizes, 1 for one step size per step.
        lr_bounds: interval to which ``clamp_`` clamps learned step sizes.
        beyond: rule for k >= K: "hold", "average", "decay" or "adam".
        adam_lr: Adam's step size of the handover, above 0.
        names: patterns of the weights that are updated, see ``ByGroup``; () updates nothing, for
            priors whose ``refresh`` does all the work.
    Raises:
        ValueError: If an argument is outside the range given here, weights do not fit
            ``n_tensors``, or ``revert`` or ``pull_back`` is called past K under "adam".
    References:
        Zhang et al. (2022), MetaDIP, arXiv:2209.08452, algorithm 1. Antoniou et al. (2019), How to
        Train Your MAML, arXiv:1810.09502 (step sizes per step and layer).
    """

    slots = 1  # the velocity; "adam" adds the second moment at step K

    def __init__(
        self,
        *,
        lr: float,
        momentum: float,
        n_steps: int,
        n_tensors: int = 1,
        lr_bounds: tuple[float, float] = (1e-4, 1.0),
        beyond: str = "hold",
        adam_lr: float = 1e-4,
        names: Sequence[str] = ("*",),
    ) -> None:
        super().__init__()
        if not 0 < lr_bounds[0] <= lr <= lr_bounds[1]:
            raise ValueError(
                f"need 0 < lr_bounds[0] <= lr <= lr_bounds[1], got lr {lr} and bounds {lr_bounds}"
            )
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        if n_steps < 1 or n_tensors < 1:
            raise ValueError(
                f"n_steps and n_tensors must be at least 1, got {n_steps} and {n_tensors}"
            )
        if beyond not in BEYOND:
            raise ValueError(f"beyond must be one of {', '.join(BEYOND)}, got {beyond!r}")
        if not adam_lr > 0:
            raise ValueError(f"adam_lr must be above 0, got {adam_lr}")
        self.n_steps, self.lr_bounds = n_steps, (lr_bounds[0], lr_bounds[1])
        self.beyond, self.adam_lr, self.names = beyond, adam_lr, tuple(names)
        self.log_lr = nn.Parameter(torch.full((n_steps, n_tensors), math.log(lr)))
        self.momentum_logit = nn.Parameter(torch.tensor(momentum).logit())

    @property
    def description(self) -> dict[str, Any]:
        """The description that rebuilds the rule; the learned values are stored as tensors."""
        n_steps, n_tensors = self.log_lr.shape
        return {
            "n_steps": n_steps,
            "n_tensors": n_tensors,
            "lr_bounds": list(self.lr_bounds),
            "beyond": self.beyond,
            "adam_lr": self.adam_lr,
            "names": list(self.names),
        }

    @torch.no_grad()
    def clamp_(self) -> None:
        """Clamp the step sizes to ``lr_bounds``; meta-training does so after every outer step."""
        self.log_lr.clamp_(*(math.log(bound) for bound in self.lr_bounds))

    @torch.no_grad()
    def adopt(self, other: MomentumSGD) -> None:
        """Copy another rule's momentum and step sizes to the steps and tensors of this one.

        Steps past the other's last one follow its own rule; a step size per tensor becomes one per
        step by its geometric mean.
        """
        self.momentum_logit.copy_(other.momentum_logit)
        for k in range(self.n_steps):
            log_lr = other.step_sizes(k).log()
            self.log_lr[k] = log_lr.mean() if self.log_lr.shape[1] == 1 else log_lr
        self.clamp_()

    def step_sizes(self, step: int) -> Tensor:
        """Return alpha_k, (n_tensors,) or (1,)."""
        return self._step_sizes(self.log_lr, step)

    def _step_sizes(self, log_lr: Tensor, step: int) -> Tensor:
        if step < self.n_steps:
            return log_lr[step].exp()
        return BEYOND[self.beyond](log_lr.exp(), (step + 1) / self.n_steps)

    def bind(self, start: Start) -> tuple[tuple[str, ...], MomentumSGD]:
        """Update the weights whose names match, and no inputs."""
        chosen = (n for n in start.weights if any(matches(n, pattern) for pattern in self.names))
        return tuple(chosen), self

    def init(self, params: Tensors) -> State:
        """Return zero velocities."""
        if not params:
            return ((),)
        if self.log_lr.shape[1] not in (1, len(params)):
            raise ValueError(
                f"step sizes for {self.log_lr.shape[1]} weight tensors, but there are {len(params)}"
            )
        return (torch._foreach_mul(params, 0.0),)

    def update(
        self, params: Tensors, grads: Tensors, state: State, step: int
    ) -> tuple[Tensors, State]:
        """See ``Rule.update``."""
        if not params:
            return (), state
        alpha = self.step_sizes(step).expand(len(params)).unbind()
        momentum = (self.momentum_logit.sigmoid(),) * len(params)
        velocity = torch._foreach_add(torch._foreach_mul(state[0], momentum), grads)
        if self._hands_over(step):
            return self._step_towards_adam(params, grads, velocity, state, step)
        return torch._foreach_sub(params, torch._foreach_mul(velocity, alpha)), (velocity,)

    def _hands_over(self, step: int) -> bool:
        return self.beyond == "adam" and step >= self.n_steps

    def _step_towards_adam(
        self, params: Tensors, grads: Tensors, velocity: Tensors, state: State, step: int
    ) -> tuple[Tensors, State]:
        """Blend the two rules; the second moment joins the state at step K."""
        r, seen = (step + 1) / self.n_steps, step + 1 - self.n_steps
        squares = torch._foreach_mul(grads, grads)
        before = state[1] if len(state) > 1 else torch._foreach_mul(squares, 0.0)
        second = torch._foreach_lerp(before, squares, 1 - SECOND_MOMENT_DECAY)
        s_hat = torch._foreach_mul(second, 1 / (1 - SECOND_MOMENT_DECAY**seen))
        # eps inside the root, so that meta-gradients are finite where a gradient is zero.
        root = torch._foreach_sqrt(torch._foreach_add(s_hat, EPS**2))
        share = min(r - 1, 1.0)
        lr = share * self.adam_lr / r**LR_DECAY * (1 - self.momentum_logit.sigmoid())
        rest = ((1 - share) * self.step_sizes(step)).expand(len(params)).unbind()
        sizes = torch._foreach_add(torch._foreach_div((lr,) * len(params), root), rest)
        return torch._foreach_sub(params, torch._foreach_mul(velocity, sizes)), (velocity, second)

    def revert(self, params: Tensors, state: State, step: int) -> Tensors:
        """Return the weights before the update of ``step``, given those after it."""
        self._refuse_adam(step)
        if not params:
            return ()
        alpha = self.step_sizes(step).expand(len(params)).unbind()
        return torch._foreach_add(params, torch._foreach_mul(state[0], alpha))

    @torch.no_grad()
    def pull_back(
        self, grads: Tensors, state: State, step: int, cotangents: tuple[Tensors, Tensors]
    ) -> UpdateDerivatives:
        """Return the derivatives of ``update`` in closed form.

        Args:
            grads: as passed to ``update``.
            state: before the update.
            step: counts from 0.
            cotangents: derivatives with respect to the weights and velocity that it returned; those
                with respect to the weights before the update equal those after it.
        """
        self._refuse_adam(step)
        if not grads:
            return UpdateDerivatives((), (), tuple(torch.zeros_like(p) for p in self.parameters()))
        momentum, leaf = self.momentum_logit.sigmoid(), self.log_lr.detach().requires_grad_()
        velocity = torch._foreach_add(torch._foreach_mul(state[0], momentum), grads)
        with torch.enable_grad():
            sizes = self._step_sizes(leaf, step)
        alpha = sizes.detach().expand(len(grads)).unbind()
        of_grads = torch._foreach_sub(cotangents[1], torch._foreach_mul(cotangents[0], alpha))
        slopes = -_inner_products(cotangents[0], velocity)
        (log_lr,) = torch.autograd.grad(sizes, leaf, slopes.sum_to_size(sizes.shape))
        slope = _inner_products(of_grads, state[0]).sum() * momentum * (1 - momentum)
        before = torch._foreach_mul(of_grads, momentum)
        return UpdateDerivatives(of_grads, before, (log_lr, slope))

    def _refuse_adam(self, step: int) -> None:
        if self._hands_over(step):
            raise ValueError(f"step {step} is past n_steps={self.n_steps}: Adam is not reverted")


def _inner_products(first: Tensors, second: Tensors) -> Tensor:
    """Return the inner product of each pair, (n_tensors,)."""
    return torch.stack([product.sum() for product in torch._foreach_mul(first, second)])
