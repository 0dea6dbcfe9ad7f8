"""Load and save real measurements, with what is needed to know how they were taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from deepinv.physics import GaussianNoise

from metadip.files import atomic_path
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.protocol import MeasurementReader
from metadip.types import InverseProblem, UserError

WRITTEN = (".pt", ".npz")  # formats that hold an operator too


def load_measurement(path: str | Path, reader: MeasurementReader) -> InverseProblem:
    """Read a real measurement.

    Model:
        ``.pt`` (a dictionary), ``.npz``, or ``.npy`` with ``y`` alone, nothing pickled; for some
        tasks an image file too. It holds ``y`` and what the task needs to know about the
        operator: see ``read`` of each task.
        Optional: ``x``, the ground truth, and ``noise_std`` of Gaussian noise (else the task's
        level, or the middle of its range). ``y``, the operator and ``noise_std`` stay as they are;
        the problem's ``scale`` brings them to E||A x||^2 = ||x||^2, where step sizes are learned.
    Shape:
        The problem's ``y`` is that of one image, such as (1, M) or (1, C, H, W), on the CPU.
    Args:
        path: the file; its stem becomes the problem's name.
        reader: a task, or an ``OwnOperator``.
    Raises:
        UserError: If the file is missing, unreadable, truncated or pickled; an entry is missing or
            has a wrong type, shape or value; the operator is above the task's ``max_bytes``; or
            the task is a mixture.
    """
    return reader.read(MeasurementFile(Path(path), images=reader.reads_images))


def save_measurement(path: str | Path, problem: InverseProblem) -> None:
    """Write a problem to ``.pt`` or ``.npz`` so that ``load_measurement`` reads it back.

    An operator that was drawn from a seed is written as that seed, any other matrix as it is.

    Raises:
        UserError: If the suffix is another, no task writes such an operator, or the file cannot be
            written.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITTEN:
        raise UserError(f"{path}: a measurement is written to one of {', '.join(WRITTEN)}")
    content = _entries(problem)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        if path.suffix.lower() == ".pt":
            torch.save(content, stream)
        else:
            arrays: dict[str, Any] = {key: np.asarray(value) for key, value in content.items()}
            np.savez(stream, **arrays)


def _entries(problem: InverseProblem) -> dict[str, Any]:
    """Return the entries of the file of a problem."""
    from metadip.tasks import TASKS

    content: dict[str, Any] = {"y": problem.y[0].detach().cpu()}
    if problem.x is not None:
        content["x"] = problem.x[0].detach().cpu()
    if isinstance(problem.physics.noise_model, GaussianNoise):
        content["noise_std"] = float(problem.physics.noise_model.sigma)
    for task in TASKS.values():
        entries = task.write(problem)
        if entries is not None:
            return {**content, **entries}
    kind = type(problem.physics).__name__
    raise UserError(f"a measurement file cannot hold the operator {kind}")
