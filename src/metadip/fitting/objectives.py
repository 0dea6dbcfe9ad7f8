"""Objectives of a fit: terms, each a function of a look, and their sum, one value per image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from metadip.registry import registered
from metadip.types import Look, Objective

# n is the number of pixels times channels of an image, not of measurements. With an operator scaled
# so that E||A x||^2 = ||x||^2, the same step sizes then work for every task.


def residual(look: Look) -> Tensor:
    """Return y_hat - y as real numbers (B, ...), with outliers added if they are estimated.

    Raises:
        ValueError: If the measurements have different shapes.
    """
    y_hat, y = look.y_hat, look.y
    if y_hat.shape != y.shape:
        raise ValueError(
            f"the operator gives measurements {tuple(y_hat.shape)}, y has {tuple(y.shape)}"
        )
    difference = y_hat - y
    if "outliers" in look.estimate.other:
        difference = difference + look.estimate.other["outliers"]
    return torch.view_as_real(difference) if difference.is_complex() else difference


def _per_pixel(values: Tensor, look: Look) -> Tensor:
    """Return the sum of each image's values divided by its number of pixels times channels."""
    return values.flatten(1).sum(dim=1) / look.estimate.x[0].numel()


@registered("mse")
def mse(look: Look) -> Tensor:
    """Return the squared error of the measurements, ||y_hat - y||^2 / n."""
    return _per_pixel(residual(look).square(), look)


@registered("l1")
def l1(look: Look) -> Tensor:
    """Return the absolute error of the measurements, ||y_hat - y||_1 / n."""
    return _per_pixel(residual(look).abs(), look)


@registered("huber")
@dataclass(frozen=True)
class Huber:
    """The Huber error of the measurements: quadratic up to ``delta``, linear above, divided by n.

    Args:
        delta: above 0, in units of y; 0.05 in [0, 1] intensity [arXiv:2112.06074].
    Raises:
        ValueError: If ``delta`` is not above 0.
    """

    delta: float

    def __post_init__(self) -> None:
        """Check the range."""
        if not self.delta > 0:
            raise ValueError(f"delta must be above 0, got {self.delta}")

    def __call__(self, look: Look) -> Tensor:
        """Return the error of each image."""
        difference = residual(look)
        zero = torch.zeros_like(difference)
        return _per_pixel(F.huber_loss(difference, zero, reduction="none", delta=self.delta), look)


@registered("total_variation")
@dataclass(frozen=True)
class TV:
    """The anisotropic total variation of an image, per pixel and channel, times a weight.

    Args:
        weight: at least 0.
    Raises:
        ValueError: If ``weight`` is negative.
    """

    weight: float

    def __post_init__(self) -> None:
        """Check the range."""
        if not self.weight >= 0:
            raise ValueError(f"weight must be at least 0, got {self.weight}")

    def __call__(self, look: Look) -> Tensor:
        """Return the weighted total variation of each image."""
        return self.weight * total_variation(look.estimate.x)


def total_variation(x: Tensor) -> Tensor:
    """Return the anisotropic total variation of each image per pixel and channel.

    Shape:
        (B, C, H, W) -> (B,).
    """
    from kornia.losses import total_variation as kornia_total_variation

    per_channel = kornia_total_variation(x, reduction="sum")  # (B, C) in kornia 0.9, (B,) before
    return per_channel.reshape(len(x), -1).sum(dim=1) / x[0].numel()


NO_TERMS: Mapping[str, Objective] = {}


class Losses(NamedTuple):
    """An objective (B,) and its data term (B,), which safeguards watch."""

    total: Tensor
    misfit: Tensor


@registered("sum")
class Sum:
    """Add regularisers to a data term.

    Model:
        data(look) + sum of terms(look). Each term includes its own weight.
    Shape:
        A look at B images -> (B,).
    Args:
        data: compares measurements: ``mse``, ``l1``, ``Huber``; never negative.
        terms: further terms by name.
    Raises:
        ValueError: When called, if a term raises it.
    References:
        Zhang et al. (2022), MetaDIP, arXiv:2209.08452, section 2.
    """

    description: dict[str, Any]

    def __init__(self, data: Objective, terms: Mapping[str, Objective] = NO_TERMS) -> None:
        self.data, self.terms = data, dict(terms)

    def __call__(self, look: Look) -> Tensor:
        """Return the objective of each image."""
        return self.evaluate(look).total

    def evaluate(self, look: Look) -> Losses:
        """Return the objective and the data term of each image."""
        misfit = self.data(look)
        total = misfit
        for term in self.terms.values():
            total = total + term(look)
        return Losses(total, misfit)


def evaluate(objective: Objective, look: Look) -> Losses:
    """Return an objective and its data term, which is ``mse`` unless the objective is a ``Sum``."""
    if isinstance(objective, Sum):
        return objective.evaluate(look)
    return Losses(objective(look), mse(look).detach())


def objective_from_description(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description in the current format for one that may come from an older file."""
    if "data_term" not in description:
        return dict(description)
    kind, weight = description["data_term"], description["tv_weight"]
    delta = {"delta": description["huber_delta"]} if kind == "huber" else {}
    terms = {"tv": {"type": "total_variation", "weight": weight}} if weight else {}
    return {"type": "sum", "data": {"type": kind, **delta}, "terms": terms}
