"""Dropout in a network that knows nothing of it, by masks that are inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from metadip.priors.representation import Representation
from metadip.registry import registered
from metadip.types import Estimate, InverseProblem, Named, Start

INNER = "inner."  # before the weights of the image's own representation


@registered("with_dropout", apart=("learned", "learned_px"))
class WithDropout(Representation):
    """Multiply every channel after an activation by a mask, 1 until a hook drops some.

    Model:
        a <- mask * a for the output a of every LeakyReLU of the network, a mask per channel: whole
        feature maps are dropped, since single pixels of a map can be told from their neighbours.
        Masks are inputs, so that their noise comes from each image's own stream and images can be
        stacked; see ``metadip.callbacks.Dropout``.
    Shape:
        The inputs of the image's representation, and ``mask`` (B, channels of all activations).
    Args:
        image: generates the image.
        learned: whether the stored weights are a learned start.
        learned_px: side of the images that it was learned on, if known.
    Raises:
        ValueError: If the network has no LeakyReLU.
    References: Tompson et al. (2015), Efficient Object Localization, arXiv:1411.4280 (maps).
    """

    def __init__(
        self, image: Representation, *, learned: bool = False, learned_px: int | None = None
    ) -> None:
        super().__init__(learned=learned, learned_px=learned_px)
        self.inner = image
        if not self._activations():
            raise ValueError("the network has no LeakyReLU after which channels could be dropped")

    def _activations(self) -> list[nn.Module]:
        return [part for part in self.inner.modules() if isinstance(part, nn.LeakyReLU)]

    @property
    def image_channels(self) -> int:
        """Channels of the images."""
        return self.inner.image_channels

    @property
    def weights(self) -> Named:
        """The weights of the image's representation."""
        return {INNER + name: weight for name, weight in self.inner.weights.items()}

    def with_channels(self, channels: int) -> Representation:
        """Return the same representation for images with another number of channels.

        Raises:
            ValueError: If the image's representation does not support that number.
        """
        other = self.inner.with_channels(channels)
        return self if other is self.inner else WithDropout(other)

    def start(self, problem: InverseProblem) -> Start:
        """Return the start of the image, with a mask that keeps everything."""
        weights, inputs = self.inner.start(problem)
        widths: list[int] = []
        handles = [
            part.register_forward_hook(lambda *seen: widths.append(seen[2].shape[1]))
            for part in self._activations()
        ]
        try:
            with torch.no_grad():
                self.inner(problem.image_shape[1:], **inputs)
        finally:
            for handle in handles:
                handle.remove()
        z = next(iter(inputs.values()))
        named = {INNER + name: weight for name, weight in weights.items()}
        return Start(named, {**inputs, "mask": z.new_ones(1, sum(widths))})

    def forward(  # type: ignore[override]
        self, size: tuple[int, int], *, mask: Tensor, **inputs: Tensor
    ) -> Estimate:
        """Generate images whose channels are multiplied by the mask."""
        with self._masked(mask):
            estimate: Estimate = self.inner(size, **inputs)
        return estimate

    @contextmanager
    def _masked(self, mask: Tensor) -> Iterator[None]:
        """Multiply the outputs of activations, in the order in which they run."""
        begin = 0

        def multiply(_: nn.Module, __: Any, out: Tensor) -> Tensor:
            nonlocal begin
            own = mask[:, begin : begin + out.shape[1], None, None]
            begin += out.shape[1]
            return out * own

        handles = [part.register_forward_hook(multiply) for part in self._activations()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
