"""An image and the sparse outliers of its measurement: double over-parameterisation."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from metadip.priors.representation import Representation
from metadip.registry import registered
from metadip.seeding import Stream, generator_of
from metadip.types import Estimate, InverseProblem, Named, Start

IMAGE = "image."  # before the weights of the image's own representation
OUTLIERS = 1  # substream of the latents' stream: z uses the stream itself


@registered("with_outliers")
class WithOutliers(Representation):
    """Generate an image, and outliers of its measurement that the image need not explain.

    Model:
        The residual becomes A(f_theta(z)) + g * g - h * h - y. Gradient descent from small g and h,
        with a step size far above that of theta, finds sparse outliers: the product favours few
        large values.
    Shape:
        The inputs of the image's representation, and ``g``, ``h``, each of the shape of y.
    Args:
        image: generates the image.
        init_std: g, h ~ N(0, init_std^2), above 0; 1e-5 in the authors' code.
    Raises:
        ValueError: If ``init_std`` is not above 0; in ``start``, if the measurement is complex or
            the image's representation does not support the problem.
    References:
        You et al. (2020), Robust Recovery via Implicit Bias of Discrepant Learning Rates for Double
        Over-parameterization, arXiv:2006.08857, equation 5.
    """

    def __init__(self, image: Representation, *, init_std: float = 1e-5) -> None:
        super().__init__(learned=image.learned, learned_px=image.learned_px)
        if not init_std > 0:
            raise ValueError(f"init_std must be above 0, got {init_std}")
        self.image, self.init_std = image, init_std

    @property
    def image_channels(self) -> int:
        """Channels of the images."""
        return self.image.image_channels

    @property
    def weights(self) -> Named:
        """The weights of the image's representation."""
        return {IMAGE + name: weight for name, weight in self.image.weights.items()}

    def with_channels(self, channels: int) -> WithOutliers:
        """Return the same representation for images with another number of channels.

        Raises:
            ValueError: If the image's representation does not support that number.
        """
        return WithOutliers(self.image.with_channels(channels), init_std=self.init_std)

    def with_weights(self, weights: Named) -> Self:
        """Return a copy that starts every image from these weights."""
        copied = super().with_weights(weights)
        copied.image.learned = True
        return copied

    def start(self, problem: InverseProblem) -> Start:
        """Return the start of the image, with g and h drawn from the image's seed."""
        y = problem.y
        if y.is_complex():
            raise ValueError("outliers are estimated of real measurements, and these are complex")
        weights, inputs = self.image.start(problem)
        generator = generator_of(problem.seed, Stream.LATENT, OUTLIERS)
        g, h = (self.init_std * torch.randn(y.shape, generator=generator).to(y) for _ in range(2))
        named = {IMAGE + name: weight for name, weight in weights.items()}
        return Start(named, {**inputs, "g": g, "h": h})

    def forward(  # type: ignore[override]
        self, size: tuple[int, int], *, g: Tensor, h: Tensor, **inputs: Tensor
    ) -> Estimate:
        """Generate images, and the outliers of their measurements."""
        estimate: Estimate = self.image(size, **inputs)
        return estimate._replace(other={**estimate.other, "outliers": g * g - h * h})

    @property
    def refreshes(self) -> bool:
        """Whether the image's representation changes its inputs."""
        return self.image.refreshes

    def refresh(
        self, inputs: Named, estimate: Estimate, problem: InverseProblem, step: int
    ) -> Named:
        """Return the inputs of the next step; those of the image come from its representation."""
        own = {name: inputs[name] for name in ("g", "h")}
        others = {name: tensor for name, tensor in inputs.items() if name not in own}
        return {**self.image.refresh(others, estimate, problem, step), **own}
