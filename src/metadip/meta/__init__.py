"""Meta-learning of the start of a fit: the engines and the LightningModule that trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

from metadip.fitting import MomentumSGD
from metadip.fitting.rules import matches
from metadip.meta.functional_maml import FunctionalMAML
from metadip.meta.functional_options import FunctionalOptions
from metadip.meta.guard import CollapseGuard
from metadip.meta.learners import Curriculum, InnerLoopSchedule, Learner, OuterLoss
from metadip.meta.meta_module import MetaModule, OuterSettings
from metadip.meta.pictures import ValidationPicture
from metadip.meta.weight_average import WeightAverage
from metadip.priors import Representation
from metadip.types import UserError

ENGINES = ("learn2learn", "functional")


def build_learner(
    engine: str,
    *,
    inner_steps: int,
    multi_step_weight: float,
    multi_step_from: int,
    log_error: bool,
    log_floor: float = 0.0,
    first_order: bool,
    curriculum: Curriculum,
    functional: FunctionalOptions,
) -> Learner:
    """Return a meta-learning engine by name: "learn2learn" or "functional".

    Raises:
        ValueError: If the engine is unknown, or another engine gets options of the functional one
            other than ``keep_graphs``; see also ``InnerLoopSchedule``.
        UserError: If learn2learn is not installed.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    schedule = InnerLoopSchedule(
        inner_steps,
        multi_step_weight=multi_step_weight,
        multi_step_from=multi_step_from,
        log_error=log_error,
        log_floor=log_floor,
        first_order=first_order,
        curriculum=curriculum,
    )
    if engine == "functional":
        return FunctionalMAML(schedule, functional)
    if replace(functional, keep_graphs=False) != FunctionalOptions():  # it keeps every graph anyway
        raise ValueError(f"engine={engine} takes no option under functional but keep_graphs")
    if find_spec("learn2learn") is None:
        raise UserError(
            "learner=learn2learn needs the package learn2learn, pip install 'metadip[train]'; "
            "learner=functional gives the same gradient without it"
        )
    from metadip.meta.learn2learn_maml import Learn2LearnMAML  # late: learn2learn takes seconds

    return Learn2LearnMAML(schedule)


def inner_optimizer(
    prior: Representation,
    *,
    lr: float,
    momentum: float,
    n_steps: int,
    per_tensor: bool,
    lr_bounds: tuple[float, float],
    names: Sequence[str] = ("*",),
    beyond: str,
    adam_lr: float = 1e-4,
) -> MomentumSGD:
    """Return momentum SGD for a prior, with step sizes per step, or per step and weight tensor.

    Raises:
        ValueError: See ``MomentumSGD``.
    """
    moved = [name for name in prior.weights if any(matches(name, p) for p in names)]
    return MomentumSGD(
        lr=lr,
        momentum=momentum,
        n_steps=n_steps,
        n_tensors=max(len(moved), 1) if per_tensor else 1,
        lr_bounds=lr_bounds,
        beyond=beyond,
        adam_lr=adam_lr,
        names=names,
    )


__all__ = [
    "ENGINES",
    "CollapseGuard",
    "Curriculum",
    "FunctionalMAML",
    "FunctionalOptions",
    "InnerLoopSchedule",
    "Learner",
    "MetaModule",
    "OuterLoss",
    "OuterSettings",
    "ValidationPicture",
    "WeightAverage",
    "build_learner",
    "inner_optimizer",
]
