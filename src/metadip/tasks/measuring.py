"""Problems of an operator and white Gaussian noise: what most tasks do once they have it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from deepinv.physics import GaussianNoise, Physics
from torch import Tensor

from metadip.physics.noise import add_gaussian_noise, draw_noise_std
from metadip.tasks.arguments import image_shape_of, middle_noise_std, noise_range
from metadip.tasks.measurement_file import MeasurementFile
from metadip.types import InverseProblem, Reading

NoiseStd = float | Sequence[float]


def measure_with(
    physics: Physics,
    x: Tensor,
    *,
    noise_std: NoiseStd,
    seed: int,
    name: str,
    scale: float = 1.0,
    reading: Reading | None = None,
    kept: Tensor | None = None,
) -> InverseProblem:
    """Measure one image (1, C, H, W), y = A(x) + e with e ~ N(0, noise_std^2).

    Callers must have left inference mode: a fit differentiates through the operator's buffers.

    Args:
        physics: A, in the precision and on the device of ``x``; its noise model is set.
        x: the image.
        noise_std: level in units of y, or (low, high) from which it is drawn.
        seed: of the noise.
        name: of the image.
        scale: of the operator, see ``InverseProblem``.
        reading: see ``InverseProblem``.
        kept: multiplies the noise, for operators whose zeros are not measured.
    """
    std = draw_noise_std(*noise_range(noise_std), seed=seed)
    physics.set_noise_model(GaussianNoise(std).to(device=x.device, dtype=x.dtype))
    with torch.no_grad():
        clean = physics.A(x)
        noise = add_gaussian_noise(torch.zeros_like(clean), std, seed=seed)
        y = clean + (noise if kept is None else kept * noise)
    shape = image_shape_of(x)
    return InverseProblem(
        y, physics, shape, x=x, name=name, seed=seed, scale=scale, reading=reading
    )


def read_with(
    file: MeasurementFile,
    physics: Physics,
    y: Tensor,
    *,
    image_shape: tuple[int, int, int],
    noise_std: NoiseStd,
    scale: float = 1.0,
    reading: Reading | None = None,
    truth: Tensor | None = None,
) -> InverseProblem:
    """Return the problem of a file whose measurement and operator are known.

    Args:
        file: gives ground truth and noise level if it holds them.
        physics: A; its noise model is set.
        y: the measurement, a batch of one.
        image_shape: (C, H, W) of the unknown image.
        noise_std: level, or (low, high) whose middle is assumed, if the file has none.
        scale: of the operator, see ``InverseProblem``.
        reading: see ``InverseProblem``.
        truth: the ground truth if it does not have ``image_shape``.
    """
    physics.set_noise_model(GaussianNoise(file.noise_std(middle_noise_std(noise_std))))
    x = file.truth(image_shape) if truth is None else truth
    return InverseProblem(
        y, physics, image_shape, x=x, name=file.path.stem, scale=scale, reading=reading
    )
