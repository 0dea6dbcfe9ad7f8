"""Reconstruction tasks, which turn images and measurement files into inverse problems."""

from metadip.tasks.blind_deblurring import BlindDeblurringTask
from metadip.tasks.coherent_diffraction import DiffractionTask
from metadip.tasks.compressive_sensing import CompressiveSensingTask
from metadip.tasks.computed_tomography import TomographyTask
from metadip.tasks.deblurring import DeblurringTask
from metadip.tasks.demosaicking import DemosaickingTask
from metadip.tasks.denoising import DenoisingTask
from metadip.tasks.inpainting import InpaintingTask
from metadip.tasks.jpeg_restoration import JPEGTask
from metadip.tasks.magnetic_resonance import MagneticResonanceTask
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.measurement_folder import MeasurementFolder
from metadip.tasks.measurements import load_measurement, save_measurement
from metadip.tasks.own_operator import OwnOperator
from metadip.tasks.phase_retrieval import PhaseRetrievalTask
from metadip.tasks.protocol import MeasurementReader, ReconstructionTask
from metadip.tasks.real_denoising import RealNoiseTask
from metadip.tasks.single_pixel_camera import SinglePixelTask
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
    "blind_deblur": BlindDeblurringTask,
    "cdi": DiffractionTask,
    "ct": TomographyTask,
    "mri": MagneticResonanceTask,
    "demosaick": DemosaickingTask,
    "jpeg": JPEGTask,
    "spc": SinglePixelTask,
    "real_noise": RealNoiseTask,
}

__all__ = [
    "TASKS",
    "BlindDeblurringTask",
    "CompressiveSensingTask",
    "DeblurringTask",
    "DemosaickingTask",
    "DenoisingTask",
    "DiffractionTask",
    "InpaintingTask",
    "JPEGTask",
    "MagneticResonanceTask",
    "MeasurementFile",
    "MeasurementFolder",
    "MeasurementReader",
    "OwnOperator",
    "PhaseRetrievalTask",
    "RealNoiseTask",
    "ReconstructionTask",
    "SinglePixelTask",
    "SuperResolutionTask",
    "TaskMixture",
    "TomographyTask",
    "load_measurement",
    "save_measurement",
]
