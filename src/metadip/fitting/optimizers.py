"""Update rules as pure functions: momentum SGD whose step sizes can be learned, and Adam."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Tensors = tuple[Tensor, ...]
State = tuple[Tensors, ...]
BEYOND = ("hold", "decay")


class Optimizer(Protocol):
    """A rule that both loops call: at test time without gradients, in meta-training with them."""

    def init(self, params: Tensors) -> State:
        """Return the state before the first update."""
        ...

    def update(
        self, params: Tensors, grads: Tensors, state: State, step: int
    ) -> tuple[Tensors, State]:
        """Return new weights and state; ``step`` counts from 0. Nothing is changed in place."""
        ...


class MomentumSGD(nn.Module):
    """Descend with momentum and a step size for every step, which meta-training can learn.

    Model:
        v_{k+1} = mu v_k + g_k, theta_{k+1} = theta_k - alpha_k v_{k+1}, v_0 = 0. Learned are log
        alpha_k (per step, or per step and weight tensor) and the logit of mu, so that step sizes
        stay positive and momentum within (0, 1). Beyond the last learned step K: "hold" repeats
        alpha_K, "decay" multiplies it by K / (k + 1).
    Shape:
        ``log_lr``: (n_steps, n_tensors) or (n_steps, 1). Weights may carry a leading batch
        dimension.
    Args:
        lr: step size to start from, above 0.
        momentum: mu to start from, in [0, 1).
        n_steps: K, number of steps with a step size of their own.
        n_tensors: number of weight tensors for per-tensor step sizes, 1 for one step size per step.
        lr_bounds: interval to which ``clamp_`` returns learned step sizes.
        beyond: rule for k >= K, "hold" or "decay".
    Raises:
        ValueError: an argument outside the range given here, or weights that do not fit
            ``n_tensors``.
    References:
        Zhang et al. (2022), MetaDIP, arXiv:2209.08452, algorithm 1. Antoniou et al. (2019), How to
        Train Your MAML, arXiv:1810.09502 (step sizes per step and layer).
    """

    def __init__(
        self,
        *,
        lr: float,
        momentum: float,
        n_steps: int,
        n_tensors: int = 1,
        lr_bounds: tuple[float, float] = (1e-4, 1.0),
        beyond: str = "hold",
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
            raise ValueError(f"beyond must be one of {BEYOND}, got {beyond!r}")
        self.n_steps, self.lr_bounds, self.beyond = n_steps, (lr_bounds[0], lr_bounds[1]), beyond
        self.log_lr = nn.Parameter(torch.full((n_steps, n_tensors), math.log(lr)))
        self.momentum_logit = nn.Parameter(torch.tensor(momentum).logit())

    @property
    def description(self) -> dict[str, Any]:
        """What a checkpoint keeps to rebuild the rule; the learned values are stored as tensors."""
        n_steps, n_tensors = self.log_lr.shape
        return {
            "n_steps": n_steps,
            "n_tensors": n_tensors,
            "lr_bounds": list(self.lr_bounds),
            "beyond": self.beyond,
        }

    @torch.no_grad()
    def clamp_(self) -> None:
        """Return the step sizes to ``lr_bounds``; meta-training calls it after every outer step."""
        self.log_lr.clamp_(*(math.log(bound) for bound in self.lr_bounds))

    @torch.no_grad()
    def adopt(self, other: MomentumSGD) -> None:
        """Take over another rule's momentum and step sizes, where this one has steps or tensors.

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
        k = min(step, self.n_steps - 1)
        alpha = self.log_lr[k].exp()
        return (
            alpha * (self.n_steps / (step + 1))
            if step >= self.n_steps and self.beyond == "decay"
            else alpha
        )

    def init(self, params: Tensors) -> State:
        """Return zero velocities."""
        if self.log_lr.shape[1] not in (1, len(params)):
            raise ValueError(
                f"step sizes for {self.log_lr.shape[1]} weight tensors, but there are {len(params)}"
            )
        return (torch._foreach_mul(params, 0.0),)

    def update(
        self, params: Tensors, grads: Tensors, state: State, step: int
    ) -> tuple[Tensors, State]:
        """See ``Optimizer.update``."""
        alpha = self.step_sizes(step).expand(len(params)).unbind()
        momentum = (self.momentum_logit.sigmoid(),) * len(params)
        velocity = torch._foreach_add(torch._foreach_mul(state[0], momentum), grads)
        return torch._foreach_sub(params, torch._foreach_mul(velocity, alpha)), (velocity,)


class Adam:
    """Adam as a pure rule.

    Model:
        m = b1 m + (1 - b1) g, s = b2 s + (1 - b2) g^2, theta -= lr m_hat / (sqrt(s_hat + eps_root)
        + eps), with bias-corrected m_hat and s_hat. ``eps_root`` > 0 keeps the rule differentiable
        where a gradient is zero.
    Args:
        lr: step size, above 0; 0.01 in the deep image prior.
        betas: b1 and b2, each in [0, 1).
        eps: at least 0.
        eps_root: at least 0.
    Raises:
        ValueError: an argument outside the range given here.
    References:
        Kingma and Ba (2015), Adam, arXiv:1412.6980.
    """

    def __init__(
        self,
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        eps_root: float = 0.0,
    ) -> None:
        if lr <= 0 or eps < 0 or eps_root < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(
                f"bad Adam arguments: lr {lr}, betas {betas}, eps {eps}, eps_root {eps_root}"
            )
        self.lr, self.betas, self.eps, self.eps_root = lr, betas, eps, eps_root

    def init(self, params: Tensors) -> State:
        """Return zero moments."""
        return torch._foreach_mul(params, 0.0), torch._foreach_mul(params, 0.0)

    def update(
        self, params: Tensors, grads: Tensors, state: State, step: int
    ) -> tuple[Tensors, State]:
        """See ``Optimizer.update``."""
        b1, b2 = self.betas
        first = torch._foreach_lerp(state[0], grads, 1 - b1)
        second = torch._foreach_lerp(state[1], torch._foreach_mul(grads, grads), 1 - b2)
        scale = torch._foreach_mul(second, 1 / (1 - b2 ** (step + 1)))
        if self.eps_root:
            scale = torch._foreach_add(scale, self.eps_root)
        denominator = torch._foreach_add(torch._foreach_sqrt(scale), self.eps)
        direction = torch._foreach_mul(
            torch._foreach_div(first, denominator), self.lr / (1 - b1 ** (step + 1))
        )
        return torch._foreach_sub(params, direction), (first, second)
