"""Physics: forward operators that deepinv lacks, and the tasks that measure images with them."""

from metadip.physics.measurements import load_measurement, save_measurement
from metadip.physics.operators import GaussianSensing, Magnitude, MatrixSensing, StructuredSensing
from metadip.physics.tasks import CompressiveSensing, Denoise, PhaseRetrieval

__all__ = [
    "CompressiveSensing",
    "Denoise",
    "GaussianSensing",
    "Magnitude",
    "MatrixSensing",
    "PhaseRetrieval",
    "StructuredSensing",
    "load_measurement",
    "save_measurement",
]
