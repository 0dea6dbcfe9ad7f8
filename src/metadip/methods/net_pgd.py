"""Projected gradient descent whose projection fits a small untrained network: Net-PGD."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from deepinv.models import Reconstructor
from deepinv.physics import Denoising, Physics
from torch import Tensor

from metadip.fitting import SGD, Execution, Sum, fit, measured, mse
from metadip.fitting.loop import groups
from metadip.methods.iteration import watch_all
from metadip.methods.method import check_known
from metadip.methods.restarts import best_of
from metadip.methods.spectral_start import check_spectral, spectral_start
from metadip.physics.splitting import ImageShape, Measured, real_dtype, split
from metadip.priors import Representation
from metadip.types import Estimate, FitResult, InverseProblem, Start, UserError

STARTS = ("network", "spectral")
MOMENTUM = 0.9  # of both loops [authors' code]
EVERY = 500  # outer steps from one change of the step sizes to the next [authors' code]
OUTER_FACTOR, INNER_FACTOR = 0.7, 0.9  # by which they shrink [authors' code]
GROWTH = 1.2  # of the number of inner steps, the first time at once [authors' code]


@dataclass(frozen=True)
class Projection:
    """How an image is projected onto what the network can generate.

    Args:
        steps: weight updates, at least 1; they grow to 1.2 times at once and every 500 outer steps.
        lr: step size for the mean squared error, above 0.
    Raises:
        ValueError: If an argument is out of range.
    """

    steps: int
    lr: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.steps < 1 or not self.lr > 0:
            raise ValueError(f"need steps >= 1 and lr > 0, got {self.steps} and {self.lr}")


class NetPGD(Reconstructor):
    """Descend on the image, and after each step project it onto the range of an untrained network.

    Model:
        x_0 = G(w_0). At each of ``steps``: v <- 0.9 v + s A^T(s (A x - y)), x <- x - lr v, where
        the operator may be |A x| and the gradient is taken by autograd; then w by
        ``projection.steps`` steps of momentum descent on ||G(w) - x||^2 / n, from the last w, and
        x <- G(w). v goes on although x is replaced. Every 500 steps lr shrinks by 0.7 and that of
        the projection by 0.9.
    Shape:
        ``forward(y, physics)``: y (B, ...) -> (B, C, H, W). Images are independent of one another.
    Args:
        prior: G; w_0 and its latent are drawn from each image's seed.
        projection: see ``Projection``.
        steps: outer steps, at least 1.
        lr: of the image, for half the squared error, above 0; an lr of the authors, for the mean
            over M measurements, is M / 2 times this one.
        start: "network", or "spectral" for phase retrieval, see ``spectral_start``.
        restarts: number of random starts, see ``best_of``.
        execution: how images share the device.
        seed: image i of a batch draws from ``seed + i``.
    Raises:
        ValueError: If an argument is out of range.
        UserError: If ``start`` is unknown; when called, if it needs magnitudes and y is none.
    Cost: ``projection.steps`` fits of the network per step, times ``restarts`` + 1 if above 1.
    References:
        Jagatap and Hegde (2019), Algorithmic Guarantees for Inverse Imaging with Untrained Network
        Priors, arXiv:1906.08763, algorithms 1 and 2.
    """

    def __init__(
        self,
        prior: Representation,
        *,
        projection: Projection,
        steps: int,
        lr: float,
        start: str,
        restarts: int,
        execution: Execution | None = None,
        seed: int = 0,
    ) -> None:
        if steps < 1 or restarts < 1 or not lr > 0:
            raise ValueError(
                f"need steps >= 1, restarts >= 1 and lr > 0, got {steps}, {restarts} and {lr}"
            )
        if start not in STARTS:
            raise UserError(f"method.start={start} is unknown; choose from {', '.join(STARTS)}")
        super().__init__(device=next(prior.parameters()).device)
        self.prior, self.projection, self.steps, self.lr = prior, projection, steps, lr
        self.start, self.restarts = start, restarts
        self.execution, self.seed = execution or Execution(), seed

    @property
    def image_channels(self) -> int:
        """Channels of the images that the network generates."""
        return self.prior.image_channels

    def check(self, problem: InverseProblem, *, task: str) -> None:
        """Raise if the prior cannot start from the problem, or the start needs magnitudes."""
        check_known(problem, task=task)
        try:
            self.prior.with_channels(problem.image_shape[0]).start(problem)
        except ValueError as error:
            raise UserError(f"{task} does not suit the prior: {error}") from error
        if self.start == "spectral":
            check_spectral(problem, task)

    def forward(
        self, y: Measured, physics: Physics, *, image_shape: ImageShape | None = None, **_: Any
    ) -> Tensor:
        """Return the reconstructions of a batch of measurements, see ``splitting.split``."""
        problems = split(y, physics, image_shape=image_shape, seed=self.seed)
        return torch.cat([result.x_hat for result in self.reconstruct(problems)])

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Reconstruct every problem; hooks see G(w_0) as step 0, then the image of each step."""
        for problem in problems:
            self.check(problem, task=type(problem.physics).__name__)
        return best_of(problems, self._run, restarts=self.restarts, hooks=hooks)

    def _run(self, problems: Sequence[InverseProblem], hooks: Sequence[Any]) -> list[FitResult]:
        """Solve problems of one size together, as fits are: on a GPU, or where stacked is set."""
        on_gpu = problems[0].y.is_cuda
        stacked = self.execution.stacked
        results: dict[int, FitResult] = {}
        with torch.inference_mode(False), torch.no_grad():
            for group in groups(problems, together=on_gpu if stacked is None else stacked):
                own = [problems[i] for i in group]
                solved = watch_all(own, self._images(own), steps=self.steps, hooks=hooks)
                results.update(zip(group, solved, strict=True))
        return [results[i] for i in range(len(problems))]

    def _images(self, problems: Sequence[InverseProblem]) -> Iterator[Tensor]:
        """Yield the start, and the images after each step."""
        prior = self.prior.with_channels(problems[0].image_shape[0])
        project = partial(_project, problems, prior, self.execution)
        y, shape = problems[0].y, (len(problems), *problems[0].image_shape)
        blank = torch.zeros(shape, dtype=real_dtype(y), device=y.device)
        x, ends = project(blank, None, SGD(lr=self.projection.lr, momentum=MOMENTUM), 0)
        yield x
        if self.start == "spectral":
            x = torch.cat([spectral_start(problem) for problem in problems])
        velocity = torch.zeros_like(x)
        for step in range(self.steps):
            stage = step // EVERY
            pairs = zip(problems, x.split(1), strict=True)
            velocity = MOMENTUM * velocity + torch.cat([_gradient(*pair) for pair in pairs])
            x = x - self.lr * OUTER_FACTOR**stage * velocity
            rule = SGD(lr=self.projection.lr * INNER_FACTOR**stage, momentum=MOMENTUM)
            x, ends = project(x, ends, rule, inner_steps(self.projection.steps, step))
            yield x


def inner_steps(first: int, step: int) -> int:
    """Return the number of weight updates at an outer step, which counts from 0.

    Example:
        >>> [inner_steps(10, step) for step in (0, 499, 500, 999)]
        [12, 12, 14, 14]
    """
    count = first
    for _ in range(step // EVERY + 1):
        count = round(GROWTH * count)
    return count


def _project(
    problems: Sequence[InverseProblem],
    prior: Representation,
    execution: Execution,
    x: Tensor,
    starts: Sequence[Start] | None,
    rule: SGD,
    steps: int,
) -> tuple[Tensor, list[Start]]:
    """Fit the network to images; return what it generates then, and where the fits ended."""
    physics = Denoising()
    targets = [
        InverseProblem(image, physics, problem.image_shape, seed=problem.seed)
        for problem, image in zip(problems, x.split(1), strict=True)
    ]
    results = fit(targets, prior, Sum(mse), rule, steps=steps, starts=starts, execution=execution)
    ends = [result.end for result in results if result.end is not None]
    return torch.cat([result.x_hat for result in results]), ends


def _gradient(problem: InverseProblem, x: Tensor) -> Tensor:
    """Return the gradient of half the squared error at an image (1, C, H, W)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y_hat, y = measured([problem], Estimate(x))
        half = (y_hat - y).abs().square().sum() / 2
        (gradient,) = torch.autograd.grad(half, x)
    return gradient
