"""The base class of what a fit generates images from, and how weights are drawn."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from metadip.seeding import Stream, seed_of
from metadip.types import Estimate, InverseProblem, Named, Start

Module = TypeVar("Module", bound=nn.Module)
INPUTS = "inputs."  # before the name of an input, where weights and inputs are named together


class Representation(nn.Module):
    """Generate images, and whatever else explains a measurement, from weights and inputs.

    A *neural representation* f_theta(z): ``start`` defines where the fit of an image starts,
    ``forward`` generates, ``refresh`` may change the inputs from one step to the next.

    Args:
        learned: whether the stored weights are a learned start; otherwise each image draws its own
            from its seed.
        learned_px: side of the images that it was learned on, if known.
    """

    description: dict[str, Any]

    def __init__(self, *, learned: bool = False, learned_px: int | None = None) -> None:
        super().__init__()
        self.learned, self.learned_px = learned, learned_px

    @property
    @abstractmethod
    def image_channels(self) -> int:
        """Channels of the images."""

    @property
    @abstractmethod
    def weights(self) -> Named:
        """The parameters that a fit may update, by name."""

    @abstractmethod
    def start(self, problem: InverseProblem) -> Start:
        """Return where the fit of a problem starts; what is learned keeps its graph.

        Raises:
            ValueError: If the representation does not support the problem.
        """

    @abstractmethod
    def forward(self, size: tuple[int, int], **inputs: Tensor) -> Estimate:
        """Generate images of ``size`` (H, W) from inputs (B, ...)."""

    def refresh(
        self, inputs: Named, estimate: Estimate, problem: InverseProblem, step: int
    ) -> Named:
        """Return the inputs of step ``step + 1``; by default they do not change.

        Called for one image at a time, or for all that share an operator if the representation
        ``shares_operators``, both at test time and in meta-training.

        Args:
            inputs: of step ``step``, without jitter and before its update, a row per image each.
            estimate: of that step. In meta-training both have their graph, so that whatever
                learns gets its gradient through the inputs, too.
            problem: of the image or images.
            step: counts from 0.
        """
        return inputs

    def named_inputs(self, problem: InverseProblem) -> tuple[str, ...]:
        """Return what tells problems with inputs of other names apart; by default nothing does.

        Problems for which it is the same can be fitted together.
        """
        return ()

    @property
    def any_size(self) -> bool:
        """Whether what was learned on small images holds for large ones."""
        return False

    @property
    def shares_operators(self) -> bool:
        """Whether ``start`` and ``refresh`` take several images that share an operator."""
        return False

    @property
    def refreshes(self) -> bool:
        """Whether ``refresh`` does anything."""
        return type(self).refresh is not Representation.refresh

    def with_channels(self, channels: int) -> Representation:
        """Return the same representation for images with another number of channels.

        Raises:
            ValueError: If the representation does not support that number.
        """
        if channels != self.image_channels:
            raise ValueError(
                f"the prior makes images of {self.image_channels} channels, asked for {channels}"
            )
        return self

    def with_weights(self, weights: Named) -> Self:
        """Return a copy that starts every image from these weights, as a learned one does."""
        copied = copy.deepcopy(self)
        copied.load_state_dict(dict(weights), strict=False)
        copied.learned = True
        return copied

    def adopt(self, other: Representation) -> None:
        """Take what another representation has learned.

        Raises:
            ValueError: If it is of another kind.
        """
        if self.description != other.description:
            raise ValueError("the other representation is of another kind")
        self.load_state_dict(other.state_dict())

    def drawn(self, seed: int) -> Self:
        """Return a copy whose weights are redrawn from ``seed``."""
        return draw_weights(self, seed=seed_of(seed, Stream.WEIGHTS))


def draw_weights(module: Module, *, seed: int) -> Module:
    """Return a copy of a module with weights redrawn from ``seed`` by the rules of its submodules.

    Weights are drawn on the CPU, so that a seed gives the same weights on every device; no global
    random state is changed.
    """
    device = next(module.parameters()).device
    fresh = copy.deepcopy(module).cpu()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU, too
        for part in fresh.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()  # type: ignore[operator]
    return fresh.to(device)
