"""Update rules for weights and inputs, and optimisers that choose what each rule updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import Any, Protocol, TypeAlias

from torch import Tensor

from metadip.priors import INPUTS
from metadip.registry import registered
from metadip.types import Start

Tensors: TypeAlias = tuple[Tensor, ...]
State: TypeAlias = tuple[Tensors, ...]


class Rule(Protocol):
    """A pure update rule, used without gradients at test time and with them in meta-training.

    Args:
        slots: state tensors per updated tensor, before the first update.
    """

    slots: int

    def init(self, params: Tensors) -> State:
        """Return the state before the first update."""
        ...

    def update(
        self, params: Tensors, grads: Tensors, state: State, step: int
    ) -> tuple[Tensors, State]:
        """Return new tensors and state; ``step`` counts from 0. Nothing is changed in place."""
        ...


class Optimizer(Protocol):
    """Choose which weights and inputs are updated, and by which rule; the others are not."""

    def bind(self, start: Start) -> tuple[tuple[str, ...], Rule]:
        """Return the names to update, inputs with ``inputs.`` before them, and their rule.

        Raises:
            ValueError: If the optimiser does not fit the start.
        """
        ...


@registered("group")
@dataclass(frozen=True)
class Group:
    """Weights and inputs updated by one rule, for ``ByGroup``.

    Args:
        names: patterns, see ``ByGroup``.
        rule: updates what they match.
    Raises:
        ValueError: If there are no names.
    """

    names: Sequence[str]
    rule: Rule

    def __post_init__(self) -> None:
        """Check the names."""
        if not self.names:
            raise ValueError("names are empty: the rule would move nothing")


@registered("by_group")
class ByGroup:
    """Update groups of weights and inputs, each by its own rule.

    Model:
        A pattern with wildcards as in file names (``*``, ``?``) is matched against the names of the
        weights; one that begins with ``inputs.``, against those of the inputs. The first match
        wins. What no pattern matches is not updated.
    Args:
        groups: rules by pattern, such as ``{"kernel.*": Adam(lr=1e-4), "*": Adam(lr=1e-2)}``; or,
            under any name, a ``Group`` of several patterns. Presets use the second form, whose step
            sizes can be set on the command line: ``optimizer.groups.kernel.rule.lr=1e-3``.
    Raises:
        ValueError: If there are no groups; in ``bind``, if a pattern matches nothing that is left.
    Example:
        >>> from metadip.fitting import Adam
        >>> start = Start({"net.weight": Tensor(), "net.bias": Tensor()}, {"z": Tensor()})
        >>> ByGroup({"*.bias": Adam(lr=0.1), "inputs.z": Adam(lr=0.2)}).bind(start)[0]
        ('net.bias', 'inputs.z')
    """

    description: dict[str, Any]

    def __init__(self, groups: Mapping[str, Rule | Group]) -> None:
        if not groups:
            raise ValueError("groups are empty: nothing would move")
        self.groups = [
            group if isinstance(group, Group) else Group([key], group)
            for key, group in groups.items()
        ]

    def bind(self, start: Start) -> tuple[tuple[str, ...], Rule]:
        """See ``Optimizer.bind``."""
        left = [*start.weights, *(INPUTS + name for name in start.inputs)]
        names: list[str] = []
        parts: list[tuple[Rule, int]] = []
        for group in self.groups:
            before = len(names)
            for pattern in group.names:
                matched = [name for name in left if matches(name, pattern)]
                if not matched:
                    known = ", ".join(left) or "nothing"
                    raise ValueError(f"group {pattern!r} matches nothing of what is left: {known}")
                left = [name for name in left if name not in matched]
                names += matched
            parts.append((group.rule, len(names) - before))
        return tuple(names), _Grouped(parts)


def matches(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern; a pattern of weights never matches an input."""
    return name.startswith(INPUTS) == pattern.startswith(INPUTS) and fnmatchcase(name, pattern)


class _Grouped:
    """Several rules, each for its own tensors.

    The state has as many slots as the rule with the most, and each slot has a tensor for every
    updated tensor, as elsewhere; those that a rule does not need are zero.
    """

    def __init__(self, parts: Sequence[tuple[Rule, int]]) -> None:
        ends = list(accumulate(count for _, count in parts))
        self.parts = [
            (rule, slice(end - count, end)) for (rule, count), end in zip(parts, ends, strict=True)
        ]
        self.slots = max(rule.slots for rule, _ in parts)

    def init(self, params: Tensors) -> State:
        """Return the state before the first update."""
        return self._join([rule.init(params[part]) for rule, part in self.parts], params)

    def update(
        self, params: Tensors, grads: Tensors, state: State, step: int
    ) -> tuple[Tensors, State]:
        """See ``Rule.update``.

        Raises:
            ValueError: If the state of a rule grows, as with ``beyond=adam``.
        """
        updated: list[Tensor] = []
        states: list[State] = []
        for rule, part in self.parts:
            own = tuple(slot[part] for slot in state[: rule.slots])
            new, after = rule.update(params[part], grads[part], own, step)
            if len(after) != rule.slots:
                raise ValueError("a rule whose state grows cannot be in a group: take beyond=hold")
            updated += new
            states.append(after)
        return tuple(updated), self._join(states, params)

    def _join(self, states: Sequence[State], params: Tensors) -> State:
        """Return one state of all groups."""
        slots: list[Tensors] = []
        for slot in range(self.slots):
            tensors: list[Tensor] = []
            for state, (_, part) in zip(states, self.parts, strict=True):
                unused = (p.new_zeros(len(p), *[1] * (p.ndim - 1)) for p in params[part])
                tensors += state[slot] if slot < len(state) else unused
            slots.append(tuple(tensors))
        return tuple(slots)
