"""The DIP family as a deepinv Reconstructor: prior, objective, update rule, number of steps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from deepinv.models import Reconstructor
from deepinv.physics import Physics
from torch import Tensor

from metadip.fitting import fit
from metadip.fitting.optimizers import Optimizer
from metadip.priors import Prior
from metadip.types import FitResult, InverseProblem, Objective


class FitReconstructor(Reconstructor):
    """Reconstruct each image of a batch by fitting a network's weights to its measurement.

    Model:
        x_hat = f_theta(z) after ``steps`` updates of theta on the objective of A(f_theta(z))
        against y, or the iterate that a stopping rule among the callbacks chose.
    Shape:
        ``forward(y, physics)``: y (B, ...) -> (B, C, H, W). Images are independent of one another.
    Args:
        prior: where fits start; see ``Prior``.
        objective: what is minimised.
        optimizer: the update rule.
        steps: weight updates per image, at least 0.
        callbacks: hooks such as ``metadip.callbacks.OutputEMA``; copied for every call.
        stacked: see ``fit``.
        precision: see ``fit``.
        seed: image i of a batch draws its random stream from ``seed + i``.
    Raises:
        ValueError: see ``fit``; or, when called, an image shape that cannot be told from y and
            physics.
    Example:
        >>> import deepinv
        >>> from metadip.fitting import Adam, DataObjective
        >>> from metadip.priors import Latent, Prior, SkipUNet
        >>> network = SkipUNet(4, out_channels=1, channels=[8], skip_channels=[4])
        >>> prior = Prior(network, Latent(4, size_px=16, n_wavelengths=0))
        >>> objective = DataObjective("mse", tv_weight=0.0, huber_delta=0.05)
        >>> dip = FitReconstructor(prior, objective=objective, optimizer=Adam(lr=0.01), steps=2)
        >>> dip(torch.rand(2, 1, 16, 16), deepinv.physics.Denoising()).shape
        torch.Size([2, 1, 16, 16])
    """

    def __init__(
        self,
        prior: Prior,
        *,
        objective: Objective,
        optimizer: Optimizer,
        steps: int,
        callbacks: Sequence[Any] = (),
        stacked: bool | None = None,
        precision: str = "32",
        seed: int = 0,
    ) -> None:
        super().__init__(device=next(prior.parameters()).device)
        self.prior, self.objective, self.optimizer = prior, objective, optimizer
        self.steps, self.callbacks = steps, list(callbacks)
        self.stacked, self.precision, self.seed = stacked, precision, seed

    def forward(
        self,
        y: Tensor,
        physics: Physics,
        *,
        image_shape: tuple[int, int, int] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the reconstructions of a batch of measurements of one operator."""
        shape = image_shape or image_shape_of(y, physics)
        problems = [
            InverseProblem(y[i : i + 1], physics, shape, seed=self.seed + i) for i in range(len(y))
        ]
        return torch.cat([result.x_hat for result in self.reconstruct(problems)])

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Fit every problem; ``hooks`` come after the callbacks. Results carry curves."""
        return fit(
            problems,
            self.prior,
            self.objective,
            self.optimizer,
            steps=self.steps,
            hooks=[*copy.deepcopy(self.callbacks), *hooks],
            stacked=self.stacked,
            precision=self.precision,
        )


def image_shape_of(y: Tensor, physics: Physics) -> tuple[int, int, int]:
    """Tell (C, H, W) of the image behind a measurement, from its operator or the adjoint.

    Raises:
        ValueError: the operator says nothing and has no adjoint that gives an image.
    """
    linear = getattr(physics, "B", physics)
    for name in ("image_shape", "img_size"):
        shape = getattr(linear, name, None)
        if shape is not None and len(shape) == 3:
            return int(shape[0]), int(shape[1]), int(shape[2])
    try:
        image = linear.A_adjoint(y[:1])
    except (AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{type(physics).__name__} does not tell the image's shape: pass image_shape="
        ) from error
    if image.ndim != 4:
        raise ValueError(
            f"{type(physics).__name__} gives {tuple(image.shape)}, not an image: pass image_shape="
        )
    return int(image.shape[1]), int(image.shape[2]), int(image.shape[3])
