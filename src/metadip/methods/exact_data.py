"""Results that agree with measurements without noise."""

from __future__ import annotations

import logging
from functools import cache

from metadip.physics.consistency import agreeing, can_agree, relative_residual
from metadip.physics.noise_level import is_noiseless
from metadip.types import FitResult, InverseProblem

logger = logging.getLogger(__name__)


def with_exact_data(
    problem: InverseProblem, result: FitResult, *, exact: bool | None, clip: bool
) -> FitResult:
    """Return a result whose image explains y, where the operator is linear; see ``agreeing``.

    Its ``checks`` state ||A(x) - y|| / ||y|| before and after, and after clipping to [0, 1].

    Args:
        problem: of the result.
        result: of a fit or an iteration.
        exact: whether y is exact; None: if its noise model says so by a standard deviation of 0.
        clip: whether the image will be clipped to [0, 1].
    """
    wanted = is_noiseless(problem) if exact is None else exact
    if not wanted:
        return result
    blind = result.estimate is not None and bool(result.estimate.operator)
    if blind or not can_agree(problem):
        _tell_of_other_operators(type(problem.physics).__name__)
        return result
    x_hat = agreeing(problem, result.x_hat, clip=clip)
    stated = {
        "residual_before": relative_residual(problem, result.x_hat),
        "residual": relative_residual(problem, x_hat),
    }
    if problem.reading is None:  # else values may have both signs
        stated["residual_clipped"] = relative_residual(problem, x_hat.clamp(0, 1))
    return result._replace(x_hat=x_hat, checks={**result.checks, "exact_data": stated})


@cache
def _tell_of_other_operators(name: str) -> None:
    logger.info(
        "y has no noise, but %s is not a known linear operator: results need not agree with y", name
    )
