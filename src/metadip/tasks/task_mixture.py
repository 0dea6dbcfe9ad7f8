"""A mixture of tasks, from which every image draws its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metadip.data.weights import check_weights
from metadip.physics.noise import task_generator
from metadip.physics.operators import ImageShape
from metadip.seeding import Stream, generator_of
from metadip.tasks.arguments import is_finite_number
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.protocol import Entries, ReconstructionTask
from metadip.types import InverseProblem, UserError


@dataclass(frozen=True)
class TaskMixture:
    """Measure each image with one of several tasks, for meta-training on all of them.

    Model:
        Task k has probability weight_k / sum of weights. It is drawn by the image's own seed,
        independent of its operator and noise, so it depends neither on the batch nor on the number
        of devices. The measurement is what task k alone would give with that seed.
    Args:
        tasks: tasks by name, none of them a mixture.
        weights: one per task, at least 0, in any unit; 0 leaves a task out.
        grey: probability that an image is made grey before it is measured, for priors that serve
            any number of channels.
    Raises:
        UserError: If a task is a mixture itself, or ``grey`` is not in [0, 1]; see also
            ``check_weights``.
    """

    reads_images: ClassVar[bool] = False
    same_size: ClassVar[bool] = False

    tasks: Mapping[str, ReconstructionTask]
    _: KW_ONLY
    weights: Mapping[str, float]
    grey: float = 0.0

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        for name, task in self.tasks.items():
            if isinstance(task, TaskMixture):
                raise UserError(f"task.tasks.{name} is a mixture: name its tasks one by one")
        check_weights(self.weights, self.tasks, key="task.weights")
        if not is_finite_number(self.grey) or not 0 <= self.grey <= 1:
            raise UserError(f"task.grey={self.grey!r} must be a probability, 0 to 1")

    def draw(self, seed: int) -> str:
        """Return the name of the task of the image with ``seed``."""
        names = list(self.tasks)
        weights = torch.tensor([self.weights[name] for name in names], dtype=torch.float64)
        return names[int(torch.multinomial(weights, 1, generator=task_generator(seed)))]

    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); see ``metadip.types.Task``."""
        if self.grey and torch.rand((), generator=generator_of(seed, Stream.GREY)) < self.grey:
            x = x.mean(dim=1, keepdim=True)
        return self.tasks[self.draw(seed)].measure(x, seed=seed, name=name)

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Reject every file: it does not say which task measured it."""
        named = ", ".join(self.tasks)
        raise UserError(
            f"{file.path}: task=mixture cannot tell what was measured; choose from {named}"
        )

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return None: the task that was drawn writes its problems."""
        return None

    def check_size(self, image_shape: ImageShape) -> None:
        """Reject images that are too large for a task that may be drawn."""
        for name, task in self.tasks.items():
            if self.weights[name]:
                task.check_size(image_shape)
