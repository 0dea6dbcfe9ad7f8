"""Stop a fit that explains its measurement as well as the known noise allows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metadip.callbacks.base import FitCallback, active_rows
from metadip.fitting.step import measured
from metadip.physics.noise_level import expected_noise_energy
from metadip.types import FitState, InverseProblem, UserError


class DiscrepancyPrinciple(FitCallback):
    """Stop each image at the first step whose residual is as small as the noise, and return it.

    Model:
        r_t = sqrt(||A(x_hat_t) - y||^2 / E||e||^2), with E||e||^2 = M sigma^2 for white Gaussian
        noise of level sigma in M measured values (Morozov); for other noise of known size, see
        ``expected_noise_energy``. The fit stops at the first r_t <= tau and returns that x_hat, or
        its last output if the steps run out first. The truth itself has r = 1. No ground truth is
        used; the level in ``problem.physics.noise_model`` is trusted (deepinv's ``Denoising()``
        assumes sigma = 0.1 by default). Where y was clipped, the noise is smaller than its nominal
        level, and the fit stops early.
    Shape:
        Reads ``x_hat`` (A, C, H, W). Records ``discrepancy``, r_t, and ``chosen_step``.
    Args:
        tau: above 0; 1 in principle, more to stop earlier.
    Raises:
        ValueError: If ``tau`` is not finite or not above 0.
        UserError: When a fit begins, if the noise level of an image is unknown or zero.
    Cost: one more application of the operator per step.
    References:
        Morozov (1966), On the Solution of Functional Equations by the Method of Regularization.
    """

    def __init__(self, tau: float) -> None:
        if not (math.isfinite(tau) and tau > 0):
            raise ValueError(f"tau must be finite and above 0, got {tau}")
        self.tau = tau

    def on_reconstruction_start(self, state: FitState) -> None:
        """Compute the noise energy of every problem."""
        energies = [p.scale**2 * _noise_energy(p) for p in state.problems]
        self._energies = torch.tensor(energies, dtype=torch.float64, device=state.output.device)

    def on_step_end(self, state: FitState) -> None:
        """Stop the images whose residual has reached the noise."""
        problems = [state.problems[i] for i in state.active.tolist()]
        energies = _residual_energy(*measured(problems, state.estimate))
        discrepancy = (energies / self._energies[active_rows(state)]).sqrt()
        state.record("discrepancy", discrepancy)
        done = discrepancy <= self.tau
        state.record("chosen_step", torch.where(done, state.step, torch.nan))
        for row in done.nonzero().flatten().tolist():
            state.output[state.active[row]] = state.x_hat[row]
            reason = (
                f"discrepancy principle: the residual is {discrepancy[row].item():.3f} of what the "
                f"noise makes, at most tau = {self.tau:g}"
            )
            state.stop(torch.arange(len(done), device=done.device) == row, reason)


def _residual_energy(y_hat: Tensor, y: Tensor) -> Tensor:
    """Return ||y_hat - y||^2 of each image, in float64."""
    norms: Tensor = torch.linalg.vector_norm((y_hat - y).flatten(1), dim=1).double()
    return norms.square()


def _noise_energy(problem: InverseProblem) -> float:
    energy = expected_noise_energy(problem)
    if energy is None:
        model = type(getattr(problem.physics, "noise_model", None)).__name__
        raise UserError(
            f"the discrepancy principle needs a noise level above 0, which the {model} of "
            f"{problem.name or 'the measurement'} does not tell: "
            "choose another stopping rule, such as callbacks=es_wmv"
        )
    return energy
