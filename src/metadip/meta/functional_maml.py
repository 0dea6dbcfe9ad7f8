"""The functional engine: exact meta-gradients by a reverse sweep, one step's graph at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metadip.fitting import MomentumSGD
from metadip.fitting.loop import groups
from metadip.fitting.step import starts_of
from metadip.fitting.unknowns import FunctionalUnknowns, Unknowns, pure, stack, unknowns_of
from metadip.meta.batch_norm import keeps_images_apart, with_closed_form_norms
from metadip.meta.functional_options import FunctionalOptions
from metadip.meta.inner_loop import InnerLoop, MetaParameters, Unrolled
from metadip.meta.learners import InnerLoopSchedule, OuterLoss
from metadip.priors import Representation
from metadip.types import InverseProblem, Objective, Start


class FunctionalMAML:
    """Meta-learn with the memory of one step's graph, regardless of the number of inner steps.

    Model:
        The inner loop runs without a graph and keeps the velocity of every step. Going back from
        theta_K, weights are recovered as theta_k = theta_{k+1} + alpha_k v_{k+1}, the step is
        recomputed with its graph, and the derivatives of everything after it are pulled back
        through it. The result equals the gradient of the learn2learn engine up to rounding.
    Args:
        schedule: length and weights of the inner loop.
        options: what to keep, and what to compute besides the exact gradient.
    Raises:
        ValueError: If Reptile is combined with ``schedule.log_error``.
    Cost:
        Per task, K sets of weights and one step's graph; with s = ``options.keep_every`` above 1,
        2 K / s + s sets.
    References:
        Maclaurin et al. (2015), Gradient-based Hyperparameter Optimization through Reversible
        Learning, arXiv:1502.03492.
    """

    def __init__(self, schedule: InnerLoopSchedule, options: FunctionalOptions) -> None:
        if options.reptile and schedule.log_error:
            raise ValueError("reptile sees no outer loss: set log_error to false")
        self.schedule, self.options = schedule, options

    def outer_loss(
        self,
        prior: Representation,
        optimizer: MomentumSGD,
        objective: Objective,
        problems: Sequence[InverseProblem],
        *,
        outer_step: int = 0,
    ) -> OuterLoss:
        """See ``Learner.outer_loss``."""
        plan = self.schedule.at(outer_step)
        stacked = (
            problems[0].y.device.type == "cuda"
            if self.options.stacked is None
            else self.options.stacked
        )
        # Where nothing adapts, all tasks have the same weights.
        fixed = plan.steps == 0 or not optimizer.names
        shared = fixed and not self.options.reptile and keeps_images_apart(prior)
        losses: dict[int, Tensor] = {}
        for group in groups(
            problems, together=stacked or shared, any_measurement=shared, representation=prior
        ):
            chosen = [problems[i] for i in group]
            meta = MetaParameters.of(prior, optimizer, starts_of(prior, chosen))
            unknowns = _unknowns(prior, meta, chosen, shared=shared)
            loop = InnerLoop(self.options, plan, meta, *unknowns, objective, chosen)
            found: Tensor = Unrolled.apply(loop, *meta.tensors)
            losses |= dict(zip(group, found, strict=True))
        return plan.combine(torch.stack([losses[i] for i in range(len(problems))]))


def _unknowns(
    prior: Representation,
    meta: MetaParameters,
    problems: Sequence[InverseProblem],
    *,
    shared: bool,
) -> tuple[Unknowns, FunctionalUnknowns]:
    """Return the unknowns for steps without a graph, and those for steps with one.

    Each task has weights of its own, unless all share the start, which nothing adapts.
    """
    device, stacked = problems[0].y.device.type, len(problems) > 1 and not shared
    mixed = torch.is_autocast_enabled(device)
    autocast = torch.get_autocast_dtype(device) if mixed else None
    size = problems[0].image_shape[1:]
    start = stack(meta.starts) if stacked else Start(meta.starts[0].weights, meta.inputs)

    def functional(module: Representation) -> FunctionalUnknowns:
        function = pure(module, size=size, stacked=stacked, autocast=autocast)
        return FunctionalUnknowns(
            function, start, meta.names, stacked=stacked, differentiable=meta.differentiable
        )

    if stacked or shared:
        unknowns = functional(prior)
        return unknowns, unknowns
    # Steps without a graph run as in a fit, which is the fastest way.
    fast = unknowns_of(prior, [start], meta.names, size=size, autocast=autocast)
    return fast, functional(with_closed_form_norms(prior, shared=meta.shared))
