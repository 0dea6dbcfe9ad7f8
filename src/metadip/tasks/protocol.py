"""What every task provides, and what callers may rely on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeAlias

from metadip.physics.operators import ImageShape
from metadip.tasks.measurement_file import MeasurementFile
from metadip.types import InverseProblem, Task

Entries: TypeAlias = Mapping[str, Any]


class MeasurementReader(Protocol):
    """Turn a measurement file into an inverse problem: a task or a user's operator.

    Args:
        reads_images: whether an image file may be a measurement.
        same_size: whether the image in such a file has the size of the unknown image.
    """

    reads_images: ClassVar[bool]
    same_size: ClassVar[bool]

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Return the problem of a file, on the CPU, named after the file's stem.

        Raises:
            UserError: If the file is missing or damaged, or an entry is missing or bad.
        """
        ...


class ReconstructionTask(Task, MeasurementReader, Protocol):
    """Measure images, and read and write measurements of the same kind."""

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return the entries from which ``read`` restores the operator.

        ``save_measurement`` adds ``y``, ``x`` and ``noise_std``. None if this task has no such
        operators.
        """
        ...

    def check_size(self, image_shape: ImageShape) -> None:
        """Reject images (C, H, W) that are too large to measure, without measuring them.

        Raises:
            UserError: If the operator would need more memory than the task allows.
        """
        ...
