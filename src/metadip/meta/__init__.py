"""Meta-learning of the start of a fit: engines and the LightningModule that trains."""

from __future__ import annotations

from torch import nn

from metadip.fitting import MomentumSGD
from metadip.meta.learners import Learner, OuterLoss, StepWeights
from metadip.meta.meta_module import MetaModule, OuterSettings
from metadip.meta.pictures import ValidationPicture

ENGINES = ("learn2learn",)


def build_learner(
    engine: str,
    *,
    inner_steps: int,
    multi_step_weight: float,
    multi_step_from: int,
    first_order: bool,
) -> Learner:
    """Return a meta-learning engine by name; the arguments are those of the engine.

    Raises:
        ValueError: unknown engine; see also ``StepWeights``.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    from metadip.meta.learn2learn_maml import (
        Learn2LearnMAML,
    )  # imported late: learn2learn takes seconds

    return Learn2LearnMAML(
        inner_steps=inner_steps,
        multi_step_weight=multi_step_weight,
        multi_step_from=multi_step_from,
        first_order=first_order,
    )


def inner_optimizer(
    network: nn.Module,
    *,
    lr: float,
    momentum: float,
    n_steps: int,
    per_tensor: bool,
    lr_bounds: tuple[float, float],
    beyond: str,
) -> MomentumSGD:
    """Return momentum SGD for ``network``: step sizes per step, or per step and weight tensor.

    Raises:
        ValueError: see ``MomentumSGD``.
    """
    n_tensors = len(list(network.parameters())) if per_tensor else 1
    return MomentumSGD(
        lr=lr,
        momentum=momentum,
        n_steps=n_steps,
        n_tensors=n_tensors,
        lr_bounds=lr_bounds,
        beyond=beyond,
    )


__all__ = [
    "ENGINES",
    "Learner",
    "MetaModule",
    "OuterLoss",
    "OuterSettings",
    "StepWeights",
    "ValidationPicture",
    "build_learner",
    "inner_optimizer",
]
