"""Reconstruction tasks, which turn images and measurement files into inverse problems."""

from metadip.tasks.compressive_sensing import CompressiveSensingTask
from metadip.tasks.deblurring import DeblurringTask
from metadip.tasks.denoising import DenoisingTask
from metadip.tasks.inpainting import InpaintingTask
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.measurement_folder import MeasurementFolder
from metadip.tasks.measurements import load_measurement, save_measurement
from metadip.tasks.own_operator import OwnOperator
from metadip.tasks.phase_retrieval import PhaseRetrievalTask
from metadip.tasks.protocol import MeasurementReader, ReconstructionTask
from metadip.tasks.super_resolution import SuperResolutionTask
from metadip.tasks.task_mixture import TaskMixture

# By the names in conf/task; a mixture is not a kind of its own.
TASKS: dict[str, type[ReconstructionTask]] = {
    "denoise": DenoisingTask,
    "cs": CompressiveSensingTask,
    "cpr": PhaseRetrievalTask,
    "inpaint": InpaintingTask,
    "sr": SuperResolutionTask,
    "deblur": DeblurringTask,
}

__all__ = [
    "TASKS",
    "CompressiveSensingTask",
    "DeblurringTask",
    "DenoisingTask",
    "InpaintingTask",
    "MeasurementFile",
    "MeasurementFolder",
    "MeasurementReader",
    "OwnOperator",
    "PhaseRetrievalTask",
    "ReconstructionTask",
    "SuperResolutionTask",
    "TaskMixture",
    "load_measurement",
    "save_measurement",
]
