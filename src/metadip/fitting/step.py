"""The step that test-time fitting and meta-training share: estimate, loss, gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from metadip.fitting.objectives import evaluate
from metadip.fitting.rules import Tensors
from metadip.fitting.unknowns import Unknowns, row_of
from metadip.priors import Representation
from metadip.types import NOTHING, Estimate, InverseProblem, Look, Named, Objective, Start

Draw = Callable[[Tensor], Tensor]


class StepOutput(NamedTuple):
    """What one step computes before the update.

    Shape:
        ``loss``, ``misfit``: (B,). ``grads``: one per updated tensor; empty if not asked for.
    """

    estimate: Estimate
    loss: Tensor
    misfit: Tensor
    grads: Tensors


def measured(problems: Sequence[InverseProblem], estimate: Estimate) -> tuple[Tensor, Tensor]:
    """Return the measurements of the estimates and those of the problems, at the problems' scale.

    Problems that share one operator object are measured together.

    Shape:
        (B, ...) each; all measurements have the same shape.
    """
    first = problems[0]
    if all(p.physics is first.physics and p.scale == first.scale for p in problems):
        y_hat = _measure(first, estimate)
        y = first.y if len(problems) == 1 else torch.cat([problem.y for problem in problems])
        return (y_hat, y) if first.scale == 1 else (first.scale * y_hat, first.scale * y)
    pairs = [measured([p], row_of(estimate, i)) for i, p in enumerate(problems)]
    of_estimate, of_problem = zip(*pairs, strict=True)
    return torch.cat(of_estimate), torch.cat(of_problem)


def _measure(problem: InverseProblem, estimate: Estimate) -> Tensor:
    """Return A(x), and leave the operator as it was.

    deepinv keeps the parameters that A is given as buffers of the operator: who uses it next would
    get those of this estimate, with their graph.
    """
    parts = problem.physics.modules() if estimate.operator else ()
    kept = [(part, dict(part._buffers)) for part in parts]
    try:
        y_hat: Tensor = problem.physics.A(estimate.x, **estimate.operator)
    finally:
        for part, buffers in kept:
            part._buffers.update(buffers)
    return y_hat


def fit_step(
    unknowns: Unknowns,
    problems: Sequence[InverseProblem],
    objective: Objective,
    *,
    draw: Draw,
    jitter: Named = NOTHING,
    create_graph: bool = False,
    retain_graph: bool = False,
    needs_grads: bool = True,
    needs_loss: bool = True,
    step: int = 0,
) -> StepOutput:
    """Generate, measure, and compute the objective and its gradient.

    Unknowns may be stacked along a leading B; the losses of different images then share no
    unknowns, and the gradient of their sum holds each image's own gradient.

    Args:
        unknowns: of B images.
        problems: B problems, whose measurements have the same shape.
        objective: one loss per image.
        draw: noise for objectives that need it, see ``Look``.
        jitter: added to the inputs of that name; an input that is updated keeps its gradient.
        create_graph: keep the graph of the gradient, for meta-training.
        retain_graph: keep the graph of the estimate; ``create_graph`` does so too.
        needs_grads: False for the last step, which makes no update.
        needs_loss: False where nothing is updated and nobody looks: loss and misfit are NaN, and
            measurements may have any shape.
        step: number of updates before, for objectives that change.
    """
    inputs = dict(unknowns.inputs)
    for name, noise in jitter.items():
        inputs[name] = inputs[name] + noise
    estimate = unknowns.generate(inputs)
    if not needs_loss:
        unknown = estimate.x.new_full((len(problems),), torch.nan)
        return StepOutput(estimate, unknown, unknown, ())
    y_hat, y = measured(problems, estimate)

    def again(**changed: Tensor) -> Estimate:
        return unknowns.generate({**inputs, **changed})

    look = Look(estimate, y_hat, y, unknowns.weights, inputs, problems, again, draw, step)
    loss, misfit = evaluate(objective, look)
    if not needs_grads or not unknowns.params:
        return StepOutput(estimate, loss, misfit, ())
    grads = torch.autograd.grad(
        loss.sum(),
        unknowns.params,
        create_graph=create_graph,
        retain_graph=retain_graph or create_graph,
        materialize_grads=True,  # of weights that this problem does not use
    )
    return StepOutput(estimate, loss, misfit, grads)


def starts_of(representation: Representation, problems: Sequence[InverseProblem]) -> list[Start]:
    """Return where the fit of each problem starts, those that share an operator at once."""
    found: dict[int, Start] = {}
    for rows in _sharing(representation, problems):
        start = representation.start(_together([problems[i] for i in rows]))
        for place, row in enumerate(rows):
            inputs = {name: t[place : place + 1] for name, t in start.inputs.items()}
            found[row] = Start(start.weights, inputs) if len(rows) > 1 else start
    return [found[row] for row in range(len(problems))]


def refreshed(
    representation: Representation,
    inputs: Named,
    estimate: Estimate,
    problems: Sequence[InverseProblem],
    step: int,
) -> Named:
    """Return the inputs of step ``step + 1`` as the representation makes them.

    Args:
        representation: see ``Representation.refresh``.
        inputs: of this step, (B, ...) each, as they were before its update.
        estimate: of this step.
        problems: of the B images.
        step: counts from 0.
    """
    groups = _sharing(representation, problems)
    parts = []
    for rows in groups:
        chosen = slice(rows[0], rows[0] + 1) if len(rows) == 1 else rows
        parts.append(
            representation.refresh(
                {name: tensor[chosen] for name, tensor in inputs.items()},
                estimate.each(lambda tensor, chosen=chosen: tensor[chosen]),  # type: ignore[misc]
                _together([problems[row] for row in rows]),
                step,
            )
        )
    order = [row for rows in groups for row in rows]
    made = {name: torch.cat([part[name] for part in parts]) for name in inputs}
    if order == sorted(order):
        return made
    back = [order.index(row) for row in range(len(order))]
    return {name: tensor[back] for name, tensor in made.items()}


def _together(problems: Sequence[InverseProblem]) -> InverseProblem:
    """Return one problem of images that share operator and scale, without their truths."""
    if len(problems) == 1:
        return problems[0]
    return replace(problems[0], y=torch.cat([problem.y for problem in problems]), x=None)


def _sharing(representation: Representation, problems: Sequence[InverseProblem]) -> list[list[int]]:
    """Return which problems share an operator, or each alone if the representation asks so."""
    alike: dict[object, list[int]] = {}
    for row, problem in enumerate(problems):
        own = (id(problem.physics), problem.scale, problem.y.shape)
        alike.setdefault(own if representation.shares_operators else row, []).append(row)
    return list(alike.values())
