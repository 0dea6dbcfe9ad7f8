"""Physics: forward operators that deepinv lacks, and the tasks that measure images with them."""

from metadip.physics.inpainting import Inpaint, as_taken
from metadip.physics.measurements import load_measurement, save_measurement
from metadip.physics.mixture import TaskMixture
from metadip.physics.operators import GaussianSensing, Magnitude, MatrixSensing, StructuredSensing
from metadip.physics.tasks import CompressiveSensing, Denoise, PhaseRetrieval

__all__ = [
    "CompressiveSensing",
    "Denoise",
    "GaussianSensing",
    "Inpaint",
    "Magnitude",
    "MatrixSensing",
    "PhaseRetrieval",
    "StructuredSensing",
    "TaskMixture",
    "as_taken",
    "load_measurement",
    "save_measurement",
]
