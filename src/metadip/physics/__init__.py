"""Physics: forward operators that deepinv lacks, and the tasks that measure images with them."""

from metadip.physics.denoising import Denoise
from metadip.physics.inpainting import Inpaint, as_taken
from metadip.physics.measurement_folder import MeasurementFolder
from metadip.physics.measurements import load_measurement, save_measurement
from metadip.physics.noise import NOISES, SpeckleNoise
from metadip.physics.operators import GaussianSensing, Magnitude, MatrixSensing, StructuredSensing
from metadip.physics.own_operator import OwnOperator
from metadip.physics.task_mixture import TaskMixture
from metadip.physics.tasks import CompressiveSensing, PhaseRetrieval, check_size

__all__ = [
    "NOISES",
    "CompressiveSensing",
    "Denoise",
    "GaussianSensing",
    "Inpaint",
    "Magnitude",
    "MatrixSensing",
    "MeasurementFolder",
    "OwnOperator",
    "PhaseRetrieval",
    "SpeckleNoise",
    "StructuredSensing",
    "TaskMixture",
    "as_taken",
    "check_size",
    "load_measurement",
    "save_measurement",
]
