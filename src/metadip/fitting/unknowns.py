"""Unknowns of a running fit: weights and inputs of one image in a module, or of many stacked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from metadip.fitting.rules import Tensors
from metadip.priors import INPUTS, Representation
from metadip.types import Estimate, Named, Start

Size = tuple[int, int]
Generate = Callable[[Named, Named], Estimate]  # of weights and inputs


class Unknowns(Protocol):
    """Weights and inputs of A images, and what is generated from them.

    Args:
        params: what the rule updates, in its order; leaves that require a gradient.
        rest: the other weights and inputs.
        inputs: current inputs of the representation, by name.
        weights: current weights of the representation, by name, with a leading A.
    """

    params: Tensors
    inputs: Named

    @property
    def rest(self) -> Tensors:
        """The weights and inputs that the rule does not update."""
        ...

    @property
    def weights(self) -> Named:
        """All weights by name, with a leading dimension of images; they share memory."""
        ...

    def generate(self, inputs: Named) -> Estimate:
        """Generate from the current weights and these inputs."""
        ...

    def load(self, params: Tensors) -> None:
        """Replace what the rule updates by new values."""
        ...

    def refresh(self, inputs: Named) -> None:
        """Replace the inputs that the rule does not update."""
        ...

    def keep(self, images: Tensor) -> None:
        """Drop all images except those where ``images`` (A,) is true."""
        ...


def unknowns_of(
    representation: Representation,
    starts: Sequence[Start],
    names: Sequence[str],
    *,
    size: Size,
    autocast: torch.dtype | None,
) -> Unknowns:
    """Return the unknowns of one image, or those of several stacked.

    Args:
        representation: generates images; it is not changed.
        starts: one per image.
        names: what a rule updates: weights, or inputs with ``INPUTS`` before their name.
        size: (H, W) of the images.
        autocast: dtype of the representation; what it generates is cast back to float32.
    Raises:
        ValueError: If a start does not name the weights of the representation in order.
    """
    expected = tuple(representation.weights)
    if any(tuple(start.weights) != expected for start in starts):
        raise ValueError("a start does not name the weights of the network in their order")
    if len(starts) == 1:
        return AloneUnknowns(representation, starts[0], names, size=size, autocast=autocast)
    function = pure(representation, size=size, stacked=True, autocast=autocast)
    return FunctionalUnknowns(function, stack(starts), names, stacked=True)


def stack(starts: Sequence[Start]) -> Start:
    """Return one start whose tensors have a row per image."""
    (weights, inputs), *_ = starts
    return Start(
        {name: torch.stack([s.weights[name].detach() for s in starts]) for name in weights},
        {name: torch.cat([s.inputs[name].detach() for s in starts]) for name in inputs},
    )


def pure(
    representation: Representation, *, size: Size, stacked: bool, autocast: torch.dtype | None
) -> Generate:
    """Return a representation as a function of its weights and inputs, by name.

    Args:
        representation: it is not changed.
        size: (H, W) of the images.
        stacked: whether weights have a leading image dimension, for ``torch.func.vmap``.
        autocast: dtype of the representation.
    """

    def alone(weights: Named, inputs: Named) -> Estimate:
        found: Estimate = functional_call(representation, dict(weights), (size,), dict(inputs))
        return found

    def one(weights: Named, inputs: Named) -> Estimate:
        rows = {name: tensor[None] for name, tensor in inputs.items()}
        return alone(weights, rows).each(lambda tensor: tensor[0])

    function = vmap(one) if stacked else alone
    return lambda weights, inputs: _run(function, weights, inputs, autocast)


class AloneUnknowns:
    """Unknowns of one image in a copy of the module; on the CPU in channels-last, which is faster.

    Calling a module costs less than binding a hundred tensors to it at each step.
    """

    def __init__(
        self,
        representation: Representation,
        start: Start,
        names: Sequence[str],
        *,
        size: Size,
        autocast: torch.dtype | None,
    ) -> None:
        self.module = copy.deepcopy(representation).requires_grad_(False)
        self.module.load_state_dict(dict(start.weights), strict=False)
        on_cpu = next(iter(start.weights.values())).device.type == "cpu"
        self.layout = torch.channels_last if on_cpu else torch.contiguous_format
        self.module.to(memory_format=self.layout)
        self.size, self.autocast, self.names = size, autocast, tuple(names)
        self._own = self.module.weights
        self.inputs: Named = {name: self._arranged(t) for name, t in start.inputs.items()}
        self.params: Tensors = tuple(
            self.inputs[name.removeprefix(INPUTS)] if name.startswith(INPUTS) else self._own[name]
            for name in names
        )
        for param in self.params:
            param.requires_grad_(True)

    @property
    def rest(self) -> Tensors:
        """See ``Unknowns``."""
        return tuple(_of_others(self.names, self._own, self.inputs).values())

    @property
    def weights(self) -> Named:
        """See ``Unknowns``."""
        return Rows(self._own)

    def generate(self, inputs: Named) -> Estimate:
        """See ``Unknowns``."""
        return _run(lambda _, i: self.module(self.size, **i), {}, inputs, self.autocast)

    def load(self, params: Tensors) -> None:
        """Copy new values into the module and the inputs."""
        if params:
            with torch.no_grad():
                torch._foreach_copy_(self.params, params)

    def refresh(self, inputs: Named) -> None:
        """See ``Unknowns``."""
        moved = {n.removeprefix(INPUTS) for n in self.names if n.startswith(INPUTS)}
        self.inputs = {
            name: self.inputs[name] if name in moved else self._arranged(tensor)
            for name, tensor in inputs.items()
        }

    def keep(self, images: Tensor) -> None:
        """Do nothing: a fit without images has ended."""

    def _arranged(self, tensor: Tensor) -> Tensor:
        """Return an input as a separate leaf, in the layout of the weights."""
        layout = self.layout if tensor.ndim == 4 else torch.contiguous_format
        return tensor.detach().clone(memory_format=layout)


class FunctionalUnknowns:
    """Unknowns bound to a pure function at each call; ``load`` leaves older graphs alone.

    Second derivatives are not faster in channels-last, so tensors use the default layout.

    Args:
        function: see ``pure``.
        start: its inputs have a row per image, its weights where they are stacked.
        names: what the rule updates.
        stacked: whether weights have a row per image.
        differentiable: names of others that require a gradient, as in meta-training.
    """

    def __init__(
        self,
        function: Generate,
        start: Start,
        names: Sequence[str],
        *,
        stacked: bool,
        differentiable: Collection[str] = (),
    ) -> None:
        self.function, self.names, self.stacked = function, tuple(names), stacked
        self.differentiable = differentiable
        self._weights = {name: self._leaf(name, t) for name, t in start.weights.items()}
        self.inputs: Named = self._input_leaves(start.inputs)
        self.params: Tensors = ()
        named = {**self._weights, **{INPUTS + name: t for name, t in self.inputs.items()}}
        self.load(tuple(named[name] for name in names))

    @property
    def rest(self) -> Tensors:
        """See ``Unknowns``."""
        return tuple(_of_others(self.names, self._weights, self.inputs).values())

    @property
    def weights(self) -> Named:
        """See ``Unknowns``."""
        return self._weights if self.stacked else Rows(self._weights)

    def generate(self, inputs: Named) -> Estimate:
        """See ``Unknowns``; image i is generated with weights i."""
        return self.function(self._weights, inputs)

    def load(self, params: Tensors) -> None:
        """Take new values."""
        self.params = tuple(p.detach().contiguous().requires_grad_() for p in params)
        weights, inputs = dict(self._weights), dict(self.inputs)
        for name, param in zip(self.names, self.params, strict=True):
            if name.startswith(INPUTS):
                inputs[name.removeprefix(INPUTS)] = param
            else:
                weights[name] = param
        self._weights, self.inputs = weights, inputs

    def refresh(self, inputs: Named) -> None:
        """See ``Unknowns``."""
        self.inputs = {
            name: self.inputs[name] if INPUTS + name in self.names else leaf
            for name, leaf in self._input_leaves(inputs).items()
        }

    def keep(self, images: Tensor) -> None:
        """Drop the rows of the other images."""
        self._weights = {name: self._leaf(name, t[images]) for name, t in self._weights.items()}
        self.inputs = self._input_leaves({name: t[images] for name, t in self.inputs.items()})
        self.load(tuple(p[images] for p in self.params))

    def _input_leaves(self, inputs: Named) -> Named:
        return {name: self._leaf(INPUTS + name, tensor) for name, tensor in inputs.items()}

    def _leaf(self, name: str, tensor: Tensor) -> Tensor:
        return tensor.detach().requires_grad_(name in self.differentiable)


class Rows(Mapping[str, Tensor]):
    """The tensors of one image, each with a leading dimension of 1 added on access."""

    def __init__(self, tensors: Named) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name][None]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _of_others(names: Sequence[str], weights: Named, inputs: Named) -> dict[str, Tensor]:
    """Return the weights, then the inputs, that are not in ``names``."""
    named = {**weights, **{INPUTS + name: tensor for name, tensor in inputs.items()}}
    return {name: tensor for name, tensor in named.items() if name not in names}


def _run(
    function: Generate, weights: Named, inputs: Named, autocast: torch.dtype | None
) -> Estimate:
    """Generate; under autocast everything is cast back to float32, for losses and hooks."""
    if autocast is None:
        return function(weights, inputs)
    device = next(iter(inputs.values())).device.type
    # No cache of cast weights: they change in place, but an outer autocast would keep the cache.
    with torch.autocast(device, autocast, cache_enabled=False):
        return function(weights, inputs).each(lambda tensor: tensor.float())


def row_of(estimate: Estimate, row: int) -> Estimate:
    """Return the estimate of one image of many."""
    return estimate.each(lambda tensor: tensor[row : row + 1])
