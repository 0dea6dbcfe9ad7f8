"""Physics: forward operators and noise that deepinv lacks, and the scale of operators."""

from metadip.physics.noise import NOISES, SpeckleNoise
from metadip.physics.operators import GaussianSensing, Magnitude, MatrixSensing, StructuredSensing

__all__ = [
    "NOISES",
    "GaussianSensing",
    "Magnitude",
    "MatrixSensing",
    "SpeckleNoise",
    "StructuredSensing",
]
