"""The weights of a running fit: one image's in a network of its own, or many images' stacked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metadip.fitting.optimizers import Tensors

Start = dict[str, Tensor]
Network = Callable[[Tensor], Tensor]
PureNetwork = Callable[[Tensors, Tensor], Tensor]


class Weights(Protocol):
    """Weights of A images, and the network that they make."""

    params: Tensors

    def __call__(self, z: Tensor) -> Tensor:
        """Return the images (A, C, H, W) of latents (A, Cz, H, W)."""
        ...

    def arrange(self, z: Tensor) -> Tensor:
        """Return a latent in the memory layout that the network likes best."""
        ...

    def load(self, params: Tensors) -> None:
        """Replace the weights after an update."""
        ...

    def keep(self, images: Tensor) -> None:
        """Drop all images but those where ``images`` (A,) is true."""
        ...


def weights_of(
    network: nn.Module, starts: Sequence[Start], *, autocast: torch.dtype | None
) -> Weights:
    """Return the weights of one image, or those of several stacked.

    Raises:
        ValueError: a start does not name the weights of the network in their order.
    """
    names = tuple(name for name, _ in network.named_parameters())
    if any(tuple(start) != names for start in starts):
        raise ValueError("a start does not name the weights of the network in their order")
    if len(starts) == 1:
        return AloneWeights(network, starts[0], autocast=autocast)
    return StackedWeights(pure(network, stacked=True, autocast=autocast), starts)


def pure(network: nn.Module, *, stacked: bool, autocast: torch.dtype | None) -> PureNetwork:
    """Return a network as a function of its weights, in the order of its parameters, and of z.

    Args:
        network: of which nothing is changed.
        stacked: weights and z have a leading image dimension, under ``torch.func.vmap``.
        autocast: number format of the network; its images return to float32.
    """
    names = tuple(name for name, _ in network.named_parameters())

    def alone(params: Tensors, z: Tensor) -> Tensor:
        image: Tensor = functional_call(network, dict(zip(names, params, strict=True)), (z,))
        return image

    def one(params: Tensors, z: Tensor) -> Tensor:
        return alone(params, z[None])[0]

    function = vmap(one) if stacked else alone

    def images(params: Tensors, z: Tensor) -> Tensor:
        return _run(lambda z: function(params, z), z, autocast)

    return images


class AloneWeights:
    """One image's weights in a copy of the network; on the CPU in channels-last, which is faster.

    Calling a module costs less than binding a hundred tensors to it at every step.
    """

    def __init__(self, network: nn.Module, start: Start, *, autocast: torch.dtype | None) -> None:
        self.network = copy.deepcopy(network).requires_grad_(True)
        self.network.load_state_dict(start, strict=False)
        on_cpu = next(iter(start.values())).device.type == "cpu"
        self.layout = torch.channels_last if on_cpu else torch.contiguous_format
        self.network.to(memory_format=self.layout)
        self.params: Tensors = tuple(self.network.parameters())
        self.autocast = autocast

    def __call__(self, z: Tensor) -> Tensor:
        """Return the image."""
        return _run(self.network, z, self.autocast)

    def arrange(self, z: Tensor) -> Tensor:
        """Return ``z`` in the layout of the weights."""
        return z.contiguous(memory_format=self.layout)

    def load(self, params: Tensors) -> None:
        """Copy new weights into the network."""
        with torch.no_grad():
            torch._foreach_copy_(self.params, params)

    def keep(self, images: Tensor) -> None:
        """Keep the one image: a fit without images has ended."""


class BoundWeights:
    """One image's weights bound to the network at each call; ``load`` leaves older graphs alone.

    Second derivatives are not faster in channels-last, so the weights are in the usual layout.
    """

    def __init__(self, function: PureNetwork, start: Start) -> None:
        self.function = function
        self.params: Tensors = ()
        self.load(tuple(start.values()))

    def __call__(self, z: Tensor) -> Tensor:
        """Return the image."""
        return self.function(self.params, z)

    def arrange(self, z: Tensor) -> Tensor:
        """Return ``z`` as it is."""
        return z

    def load(self, params: Tensors) -> None:
        """Take new weights."""
        self.params = tuple(p.detach().contiguous().requires_grad_() for p in params)

    def keep(self, images: Tensor) -> None:
        """Keep the one image: a fit without images has ended."""


class StackedWeights:
    """Several images' weights along a leading dimension."""

    def __init__(self, function: PureNetwork, starts: Sequence[Start]) -> None:
        self.function = function
        self.params: Tensors = ()
        self.load(tuple(torch.stack(same) for same in zip(*map(dict.values, starts), strict=True)))

    def __call__(self, z: Tensor) -> Tensor:
        """Return the images; image i passes through the network with weights i."""
        return self.function(self.params, z)

    def arrange(self, z: Tensor) -> Tensor:
        """Return ``z`` as it is."""
        return z

    def load(self, params: Tensors) -> None:
        """Take new weights."""
        self.params = tuple(p.detach().requires_grad_() for p in params)

    def keep(self, images: Tensor) -> None:
        """Drop the weights of the other images."""
        self.load(tuple(p[images] for p in self.params))


def _run(network: Network, z: Tensor, autocast: torch.dtype | None) -> Tensor:
    """Call the network; under autocast its images return to float32, for losses and hooks."""
    if autocast is None:
        return network(z)
    # No cache of cast weights: they change in place while an outer autocast would keep it.
    with torch.autocast(z.device.type, autocast, cache_enabled=False):
        return network(z).float()
