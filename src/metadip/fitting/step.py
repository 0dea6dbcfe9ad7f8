"""The one step that test-time fitting and meta-training share: image, loss, gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from metadip.types import InverseProblem, Objective


class StepOutput(NamedTuple):
    """What one step computes before the update.

    Shape:
        ``x_hat``: (B, C, H, W). ``loss``: (B,). ``grads``: one per weight tensor; None when not
        asked for.
    """

    x_hat: Tensor
    loss: Tensor
    grads: tuple[Tensor, ...]


def data_loss(problems: Sequence[InverseProblem], x_hat: Tensor, objective: Objective) -> Tensor:
    """Return the objective of each reconstruction (B,) against its own measurement.

    Problems that share one operator object are measured together.
    """
    first = problems[0]
    if all(p.physics is first.physics and p.scale == first.scale for p in problems):
        y = first.y if len(problems) == 1 else torch.cat([problem.y for problem in problems])
        return _misfit(first, x_hat, y, objective)
    pairs = zip(problems, x_hat.split(1), strict=True)
    return torch.cat([_misfit(problem, image, problem.y, objective) for problem, image in pairs])


def _misfit(problem: InverseProblem, x_hat: Tensor, y: Tensor, objective: Objective) -> Tensor:
    """Return the objective of reconstructions of one operator, at the problem's scale."""
    y_hat = problem.physics.A(x_hat)
    if problem.scale != 1:
        y_hat, y = problem.scale * y_hat, problem.scale * y
    return objective(x_hat, y_hat, y)


def fit_step(
    network: Callable[[Tensor], Tensor],
    params: Sequence[Tensor],
    z: Tensor,
    problems: Sequence[InverseProblem],
    objective: Objective,
    *,
    create_graph: bool = False,
    retain_graph: bool = False,
    needs_grads: bool = True,
) -> StepOutput:
    """Compute x_hat = f_theta(z), the loss of A(x_hat) against y, and its gradient.

    Shape:
        ``z``: (B, Cz, H, W). Weights may be stacked along a leading B; the losses of different
        images share no weight then, and the gradient of their sum holds each image's own.
    Args:
        network: f_theta with its weights bound.
        params: the bound weights, leaves or differentiable tensors.
        z: what enters the network.
        problems: B problems.
        objective: one loss per image.
        create_graph: keep the graph of the gradient, for meta-training.
        retain_graph: keep the graph of ``x_hat``; ``create_graph`` does so too.
        needs_grads: False for the last step, which only looks.
    """
    x_hat = network(z)
    loss = data_loss(problems, x_hat, objective)
    if not needs_grads:
        return StepOutput(x_hat, loss, ())
    grads = torch.autograd.grad(
        loss.sum(), params, create_graph=create_graph, retain_graph=retain_graph or create_graph
    )
    return StepOutput(x_hat, loss, grads)
