"""A complex object whose magnitude and phase are each made by a network of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.func import functional_call

from metadip.priors.representation import Representation
from metadip.registry import registered
from metadip.seeding import Stream, seed_of
from metadip.types import Estimate, InverseProblem, Named, Start

COMPLEX = 2  # channels: real and imaginary part
PHASE_INPUT, GAIN_INPUT = "phase_z", "log_gain"
PHASE = 2  # the phase's part of the streams of weights and latents


@registered("magnitude_and_phase")
class MagnitudeAndPhase(Representation):
    """Generate an object m exp(i p) from two networks, or a real one from the first alone.

    Model:
        x = exp(g) m (cos p, sin p), m = f_theta(z) in [0, 1] and p = pi h_phi(z_p), which is not
        bounded: a phase of several turns stays smooth, where a bounded one would jump. The gain
        g is an input that starts where ||A(x)|| = ||y||, so that objects in any unit are fitted
        alike; a rule may move it (``inputs.log_gain``). Groups: ``magnitude.*``, ``phase.*``.
    Shape:
        Inputs ``z``, ``phase_z`` and ``log_gain`` (B, 1, 1, 1); images (B, 2, H, W), or (B, 1, H,
        W) of real objects.
    Args:
        magnitude: generates one channel in [0, 1].
        phase: generates one channel, not bounded.
        real: leave the phase out.
    Raises:
        ValueError: If a part generates several channels; in ``with_channels``, if there are not one
            or two.
    References:
        Zhuang et al. (2022), Practical Phase Retrieval Using Double Deep Image Priors,
        arXiv:2211.00799.
    """

    def __init__(
        self, magnitude: Representation, phase: Representation, *, real: bool = False
    ) -> None:
        super().__init__()
        if (magnitude.image_channels, phase.image_channels) != (1, 1):
            raise ValueError(
                "magnitude and phase have one channel each, got "
                f"{magnitude.image_channels} and {phase.image_channels}"
            )
        self.magnitude, self.phase, self.real = magnitude, phase, real

    @property
    def image_channels(self) -> int:
        """Channels of the objects."""
        return 1 if self.real else COMPLEX

    @property
    def weights(self) -> Named:
        """Those of the magnitude, then those of the phase."""
        return _joined(self.magnitude.weights, self.phase.weights)

    def with_channels(self, channels: int) -> MagnitudeAndPhase:
        """Return the same for real (one channel) or complex objects (two)."""
        if channels == self.image_channels:
            return self
        if channels not in (1, COMPLEX):
            raise ValueError(f"objects have 1 channel (real) or 2, asked for {channels}")
        return MagnitudeAndPhase(self.magnitude, self.phase, real=channels == 1)

    def with_weights(self, weights: Named) -> Self:
        """See ``Representation.with_weights``."""
        copied = super().with_weights(weights)
        copied.magnitude.learned = copied.phase.learned = True
        return copied

    def start(self, problem: InverseProblem) -> Start:
        """Return the starts of both, each drawn from its own stream, and the gain."""
        channels, height, width = problem.image_shape
        if channels != self.image_channels:
            raise ValueError(
                f"the prior makes objects of {self.image_channels} channels, asked for {channels}"
            )
        one = _of_one_channel(problem)
        magnitude = self.magnitude.start(one)
        other = seed_of(problem.seed, Stream.WEIGHTS, PHASE)
        phase = self.phase.start(_of_one_channel(problem, seed=other))
        weights = _joined(magnitude.weights, phase.weights)
        inputs: dict[str, Tensor] = {**magnitude.inputs, PHASE_INPUT: phase.inputs["z"]}
        gain = torch.zeros(1, 1, 1, 1).to(inputs["z"])
        with torch.no_grad():
            first: Estimate = functional_call(
                self, dict(weights), ((height, width),), {**inputs, GAIN_INPUT: gain}
            )
            ratio = problem.y.norm() / problem.physics.A(first.x).norm()
        return Start(weights, {**inputs, GAIN_INPUT: gain + ratio.log()})

    def forward(self, size: tuple[int, int], **inputs: Tensor) -> Estimate:
        """Generate objects."""
        phase_z, log_gain = inputs.pop(PHASE_INPUT), inputs.pop(GAIN_INPUT)
        m = log_gain.exp() * self.magnitude(size, **inputs).x
        if self.real:
            return Estimate(m)
        p = torch.pi * self.phase(size, z=phase_z).x
        return Estimate(torch.cat([m * p.cos(), m * p.sin()], dim=1))


def _of_one_channel(problem: InverseProblem, **changes: Any) -> InverseProblem:
    _, height, width = problem.image_shape
    return replace(problem, image_shape=(1, height, width), **changes)


def _joined(magnitude: Named, phase: Named) -> Named:
    """Name the weights of both parts as the module does."""
    named = {f"magnitude.{name}": tensor for name, tensor in magnitude.items()}
    return named | {f"phase.{name}": tensor for name, tensor in phase.items()}
