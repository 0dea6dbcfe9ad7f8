"""Whether the result of a learned prior explains its measurement, and what would do better."""

from __future__ import annotations

import logging
import math

import torch
from deepinv.physics import Denoising, GaussianNoise, LinearPhysics
from torch import Tensor

from metadip.fitting import measured
from metadip.methods.classical import DenoiserReconstructor
from metadip.methods.denoisers import TV
from metadip.methods.pnp import PnPADMM
from metadip.physics.camera import CameraNoise
from metadip.physics.far_field import FarField
from metadip.physics.noise_level import expected_noise_energy
from metadip.physics.operators import Magnitude
from metadip.types import Estimate, FitResult, InverseProblem, UserError

logger = logging.getLogger(__name__)
DOUBTFUL = 1.2  # times the noise, or TV's residual: good results are at 0.9 to 1.1 of the noise
UNEXPLAINED = 0.1  # of y, where nothing is known of the noise but that there is little
UNLIKE_TV = 0.05  # of y, if TV leaves less; exact y are left at 0.02 to 0.04 by good results
SLOW = "method=dip callbacks=es_wmv"
TV_WEIGHT = 0.85  # as conf/denoiser/tv.yaml
TV_PNP = {"strength": 15 / 255, "penalty": 0.2, "iterations": 20}  # as conf/pnp/untuned.yaml


def with_trust(problem: InverseProblem, result: FitResult, *, tv: bool) -> FitResult:
    """Return a result whose ``checks`` state how well its image explains y; log a doubt.

    Model:
        residual = ||A(x_hat) - y|| / ||y||. Where the size of the noise is known, over_noise is
        ||A(x_hat) - y|| over it: 1 for the truth, and sqrt(2) in denoising for an image as far from
        the truth as y; above ``DOUBTFUL`` is doubtful. Elsewhere over_tv is the same over the
        residual of a total-variation fit (by plug-and-play ADMM except in denoising), which counts
        where the residual is above ``UNLIKE_TV``: that fit comes close to an exact y, good or bad.
        Without it, a residual above ``UNEXPLAINED`` is doubtful, but for the noise of a camera.
    Args:
        problem: of the result.
        result: of a fit from a learned prior.
        tv: whether to compare with total variation where the size of the noise is not known; a fit
            that comes closer to y than the noise is no better, so elsewhere it says nothing.
    Cost: one application of the operator; with ``tv``, a total-variation fit.
    """
    gap, size = _gap(problem, result.x_hat, result.estimate)
    energy = expected_noise_energy(problem)
    of_tv = _gap_of_tv(problem) if tv and energy is None else None
    of_camera = isinstance(problem.physics.noise_model, CameraNoise)  # much, of unknown size
    over_noise = None if energy is None else gap / (problem.scale * math.sqrt(energy))
    over_tv = None if not of_tv else gap / of_tv
    doubt = None
    if over_noise is not None and over_noise > DOUBTFUL:
        doubt = f"it is {over_noise:.2g} times as far from y as the noise allows"
    elif over_tv is not None and over_tv > DOUBTFUL and gap > UNLIKE_TV * size:
        doubt = f"it is {over_tv:.2g} times as far from y as a total-variation fit"
    elif over_noise is over_tv is None and not of_camera and gap > UNEXPLAINED * size:
        doubt = f"it leaves {100 * gap / size:.0f} % of y unexplained"
    if doubt:
        logger.warning(
            "%s: do not trust the reconstruction, %s; better methods may be %s",
            problem.name or "an image", doubt, better_methods(problem),
        )  # fmt: skip
    stated = {
        "residual": gap / size if size else None,
        "over_noise": over_noise,
        "over_tv": over_tv,
        "doubt": doubt,
    }
    return result._replace(checks={**result.checks, "trust": stated})


def better_methods(problem: InverseProblem) -> str:
    """Return settings of ``infer.py`` that serve a problem of any size, as words."""
    physics = problem.physics
    if isinstance(physics, FarField):
        return "method=hio or method=raar"
    if isinstance(physics, Denoising):
        if not isinstance(physics.noise_model, GaussianNoise):
            return SLOW
        return "method=bm3d or method=tv"
    if isinstance(physics, LinearPhysics | Magnitude) and not problem.y.is_complex():
        return "method=pnp_admm with denoiser=bm3d or denoiser=tv"
    return SLOW


def _gap(problem: InverseProblem, x: Tensor, estimate: Estimate | None) -> tuple[float, float]:
    """Return ||A(x) - y|| and ||y||, at the scale of the problem."""
    operator = {} if estimate is None else estimate.operator
    with torch.no_grad():
        y_hat, y = measured([problem], Estimate(x, operator))
        gap, size = (torch.linalg.vector_norm(t).item() for t in (y_hat - y, y))
    return gap, size


def _gap_of_tv(problem: InverseProblem) -> float | None:
    """Return the residual of a total-variation fit, None where there is no such fit."""
    denoiser = TV(TV_WEIGHT)
    noisy = isinstance(problem.physics, Denoising)
    method = DenoiserReconstructor(denoiser) if noisy else PnPADMM(denoiser, **TV_PNP)  # type: ignore[arg-type]
    try:
        (result,) = method.reconstruct([problem])
    except UserError:
        return None
    return _gap(problem, result.x_hat, None)[0]
