"""Real measurements: load and save y with what is needed to know how it was taken."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deepinv.physics import Denoising, GaussianNoise, Inpainting, LinearPhysics

from metadip.physics.denoising import Denoise
from metadip.physics.inpainting import Inpaint, as_taken, mask_scale, masking
from metadip.physics.measurement_file import READERS, MeasurementFile, open_measurement
from metadip.physics.operators import (
    GaussianSensing,
    Magnitude,
    MatrixSensing,
    StructuredSensing,
    draw_sensing,
)
from metadip.physics.task_mixture import TaskMixture
from metadip.physics.tasks import SensingTask, noise_range
from metadip.types import InverseProblem, UserError

MeasuredTask = Denoise | Inpaint | SensingTask

_MAX_INTENSITY = 10.0  # [0, 1] plus any allowed noise stays below; 0 to 255 does not


def load_measurement(path: str | Path, task: MeasuredTask | TaskMixture) -> InverseProblem:
    """Read a real measurement.

    Model:
        ``.pt`` (a dictionary) or ``.npz``, nothing pickled. Denoising: ``y`` is an image in [0, 1]
        intensity, or the file is an image, of one channel where it is grey. Inpainting: ``y`` also,
        and ``mask``, (H, W) or (C, H, W), 1 where it was observed and 0 where it was lost. Sensing:
        ``y`` (M,), ``image_shape`` (C, H, W), and either ``A`` (M, C*H*W) or the ``seed`` of one of
        our operators with its name in ``operator`` (that of the task if absent). Optional: ``x``,
        the ground truth, and ``noise_std`` of Gaussian noise (else the task's level, or the middle
        of its range). M comes from the file, not the task's ratio. A given ``A`` or ``mask`` is
        scaled, and y and noise_std with it, so that E||A vec(x)||^2 = ||x||^2, because step sizes
        are learned at that scale.
    Shape:
        The problem's ``y`` is (1, M) for sensing, else (1, C, H, W); float32, on the CPU.
    Args:
        path: the file; its stem becomes the problem's name.
        task: what is to be undone.
    Raises:
        UserError: the file is missing, unreadable, truncated or pickled; an entry is missing or has
            a wrong type, shape or value; the operator is above the task's ``max_bytes``; the task
            is a mixture.
    """
    path = Path(path)
    if isinstance(task, TaskMixture):
        named = ", ".join(task.tasks)
        raise UserError(f"{path}: task=mixture cannot tell what was measured; choose from {named}")
    file = open_measurement(path, images=isinstance(task, Denoise))
    if isinstance(task, SensingTask):
        return _load_sensing(file, task)
    return _load_image(file, task)


def save_measurement(path: str | Path, problem: InverseProblem) -> None:
    """Write a problem to ``.pt`` or ``.npz`` so that ``load_measurement`` reads it back.

    An operator that was drawn from a seed is written as that seed, any other matrix as it is.

    Raises:
        UserError: another suffix, an operator that such a file cannot hold, or no place to write.
    """
    path = Path(path)
    if path.suffix.lower() not in READERS:
        raise UserError(f"{path}: a measurement is written to one of {', '.join(READERS)}")
    content = _describe(problem)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as stream:
            if path.suffix.lower() == ".pt":
                torch.save(content, stream)
            else:
                arrays: dict[str, Any] = {key: np.asarray(value) for key, value in content.items()}
                np.savez(stream, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); check the folder"
        ) from error


def _describe(problem: InverseProblem) -> dict[str, Any]:
    """Return the entries of a problem's file."""
    physics = problem.physics
    linear = physics.B if isinstance(physics, Magnitude) else physics
    content: dict[str, Any] = {"y": as_taken(problem)[0].detach().cpu()}
    if problem.x is not None:
        content["x"] = problem.x[0].detach().cpu()
    if isinstance(physics.noise_model, GaussianNoise):
        content["noise_std"] = float(physics.noise_model.sigma) / mask_scale(physics)
    if isinstance(linear, Denoising):
        return content
    if isinstance(linear, Inpainting):
        return content | {"mask": (linear.mask[0] / mask_scale(linear)).cpu()}
    content["image_shape"] = torch.tensor(problem.image_shape)
    if isinstance(linear, StructuredSensing):
        return content | {
            "operator": "structured",
            "seed": linear.seed,
            "n_layers": linear.n_layers,
        }
    if isinstance(linear, GaussianSensing):
        return content | {"operator": "gaussian", "seed": linear.seed}
    if isinstance(linear, MatrixSensing):
        return content | {"A": linear.matrix.cpu()}
    raise UserError(f"a measurement file cannot hold the operator {type(linear).__name__}")


def _load_image(file: MeasurementFile, task: Denoise | Inpaint) -> InverseProblem:
    """Read a noisy image, of which some may be lost."""
    y = file.image("y")
    if y.abs().max() > _MAX_INTENSITY:
        raise file.error("y", f"reaches {y.abs().max():g}; scale it to [0, 1] intensity")
    shape = file.check_image_shape("y", tuple(y.shape[1:]))
    noise_std = file.noise_std(_middle(task))
    if isinstance(task, Inpaint):
        physics = masking(file.mask(shape), shape, noise_std=noise_std)
        y = physics.A(y)
    else:
        told = "noise_std" in file.content and task.noise == "gaussian"
        physics = Denoising(GaussianNoise(noise_std) if told else task.noise_model(noise_std))
    return InverseProblem(y, physics, shape, x=file.truth(shape), name=file.path.stem)


def _load_sensing(file: MeasurementFile, task: SensingTask) -> InverseProblem:
    """Read linear measurements or magnitudes, and their operator."""
    y, shape, noise_std = file.floats("y"), file.image_shape(), file.noise_std(_middle(task))
    if y.ndim != 1 or not len(y):
        raise file.error("y", f"must have shape (M,), got {tuple(y.shape)}")
    linear: LinearPhysics
    if "A" in file.content:
        matrix, scale = file.matrix(len(y), shape)
        linear = MatrixSensing(matrix, image_shape=shape)
        y, noise_std = y * scale, noise_std * scale
    else:
        layers = file.integer("n_layers", minimum=1) if "n_layers" in file.content else None
        linear = draw_sensing(
            file.operator(task.operator),
            shape,
            n_measurements=len(y),
            seed=file.integer("seed"),
            max_bytes=task.max_bytes,
            n_layers=layers or task.n_layers,
        )
    physics = task.physics_of(linear)
    physics.set_noise_model(GaussianNoise(noise_std))
    return InverseProblem(y[None], physics, shape, x=file.truth(shape), name=file.path.stem)


def _middle(task: MeasuredTask) -> float:
    """Return the middle of a task's noise levels."""
    return sum(noise_range(task.noise_std)) / 2
