"""A deep image prior with total variation, by splitting: ADMM or half-quadratic splitting."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from deepinv.physics import Physics
from torch import Tensor

from metadip.fitting import Execution, Sum, fit, mse
from metadip.fitting.loop import groups
from metadip.fitting.rules import Optimizer
from metadip.methods.admm_tv import gradient
from metadip.methods.fit import FitReconstructor
from metadip.methods.iteration import watch_all
from metadip.priors import Representation
from metadip.types import FitResult, InverseProblem, UserError

ALGORITHMS = ("admm", "hqs")


@dataclass(frozen=True)
class Splitting:
    """How total variation is split from the network.

    Args:
        algorithm: "admm", with a dual variable, or "hqs", without.
        weight: of the total variation, above 0.
        penalty: beta, on the distance of the image's gradient from the split one, above 0.
        inner_steps: weight updates per iteration, at least 1.
    Raises:
        UserError: If ``algorithm`` is unknown.
        ValueError: If a number is out of range.
    """

    algorithm: str
    weight: float
    penalty: float
    inner_steps: int

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.algorithm not in ALGORITHMS:
            raise UserError(
                f"method.splitting.algorithm={self.algorithm} is unknown; choose from "
                f"{', '.join(ALGORITHMS)}"
            )
        if not (self.weight > 0 and self.penalty > 0 and self.inner_steps >= 1):
            raise ValueError(
                "need weight > 0, penalty > 0 and inner_steps >= 1, got "
                f"{self.weight}, {self.penalty} and {self.inner_steps}"
            )


class SplitTV(FitReconstructor):
    """Fit a network so that its image explains y and has a small total variation, by splitting.

    Model:
        min_theta 1/2 ||s (A f - y)||^2 + weight sum_pixels |(D f)|, with t = D f split off:
        theta by ``inner_steps`` updates on 1/2 ||s (A f - y)||^2 + beta/2 ||D f - t + u||^2,
        t <- shrink(D f + u, weight / beta), and with ADMM u <- u + D f - t, else u = 0. The rule
        starts anew at each iteration, the weights go on.
    Args:
        prior, optimizer, seed: see ``FitReconstructor``.
        splitting: see ``Splitting``.
        steps: iterations, at least 1.
        execution: see ``fit``.
    Raises:
        ValueError: If ``steps`` is below 1.
    Cost: ``steps`` fits of ``inner_steps`` updates.
    References:
        Cascarano et al. (2021), Combining Weighted Total Variation and Deep Image Prior for Natural
        and Medical Image Restoration via ADMM, arXiv:2009.11380.
    """

    def __init__(
        self,
        prior: Representation,
        *,
        optimizer: Optimizer,
        splitting: Splitting,
        steps: int,
        execution: Execution | None = None,
        seed: int = 0,
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        super().__init__(
            prior, objective=Sum(mse), optimizer=optimizer, steps=steps, execution=execution,
            seed=seed,
        )  # fmt: skip
        self.splitting = splitting

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Fit every problem; hooks see f at the start as step 0, then after each iteration."""
        stacked, results = self.execution.stacked, dict[int, FitResult]()
        together = problems[0].y.is_cuda if stacked is None else stacked
        with torch.inference_mode(False), torch.no_grad():
            for group in groups(problems, together=together):
                own = [problems[i] for i in group]
                solved = watch_all(own, self._images(own), steps=self.steps, hooks=hooks)
                results.update(zip(group, solved, strict=True))
        return [results[i] for i in range(len(problems))]

    def _images(self, problems: Sequence[InverseProblem]) -> Iterator[Tensor]:
        """Yield the images of the start and after each iteration, (N, C, H, W)."""
        weight, beta = self.splitting.weight, self.splitting.penalty
        starts, steps = None, 0
        t = u = torch.zeros(())
        for step in range(self.steps + 1):
            targets = problems if step == 0 else _with_slopes(problems, beta, t - u)
            results = fit(
                targets, self.prior, self.objective, self.optimizer, steps=steps, starts=starts,
                execution=self.execution,
            )  # fmt: skip
            x = torch.cat([result.x_hat for result in results])
            yield x
            starts = [result.end for result in results if result.end is not None]
            steps = self.splitting.inner_steps
            slopes = gradient(x)
            u = torch.zeros_like(slopes) if step == 0 else u
            t = _shrunk(slopes + u, weight / beta)
            if self.splitting.algorithm == "admm":
                u = u + slopes - t


def _shrunk(slopes: Tensor, threshold: float) -> Tensor:
    """Return vectors (2, ...) shortened by a threshold."""
    length = slopes.square().sum(0, keepdim=True).sqrt().clamp(min=1e-12)
    return slopes * (1 - threshold / length).clamp(min=0)


def _with_slopes(
    problems: Sequence[InverseProblem], beta: float, slopes: Tensor
) -> list[InverseProblem]:
    """Return problems that ask for y and for the slopes (2, N, C, H, W) of the image as well."""
    operators: dict[tuple[int, float], _AndSlopes] = {}
    found = []
    for i, problem in enumerate(problems):
        own = id(problem.physics), problem.scale
        physics = operators.setdefault(own, _AndSlopes(problem.physics, problem.scale, beta))
        y = physics.joined(problem.y, slopes[:, i : i + 1])
        found.append(
            InverseProblem(y, physics, problem.image_shape, name=problem.name, seed=problem.seed)
        )
    return found


class _AndSlopes(Physics):
    """Measure A(x) at its scale, and the slopes of x, in one vector."""

    def __init__(self, physics: Physics, scale: float, beta: float) -> None:
        super().__init__()
        self.physics, self.scale, self.beta = physics, scale, beta

    def joined(self, y: Tensor, slopes: Tensor) -> Tensor:
        """Return (B, M) for measurements (B, ...) and slopes (2, B, C, H, W)."""
        real = torch.view_as_real(y) if y.is_complex() else y
        parts = self.scale * real.flatten(1), slopes.transpose(0, 1).flatten(1)
        return torch.cat([parts[0], math.sqrt(self.beta) * parts[1]], dim=1)

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Return the measurements and the slopes."""
        return self.joined(self.physics.A(x, **kwargs), gradient(x))
