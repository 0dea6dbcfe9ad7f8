"""Registry of the constructors and functions that a file may name, and their descriptions.

A checkpoint describes what to build in plain text, ``{"type": name, arguments}``. Only registered
entries are ever built from a file, never something at an import path.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from metadip.argument_types import check_types

Entry = TypeVar("Entry", bound=Callable[..., Any])

VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_ENTRIES: dict[str, Callable[..., Any]] = {}
_NAMES: dict[Callable[..., Any], str] = {}


def registered(name: str, *, apart: Collection[str] = ()) -> Callable[[Entry], Entry]:
    """Register a class or a function under a name.

    An object of a class gets the attribute ``description``: its name and the arguments that it was
    made with. A function is described by a ``functools.partial`` of it.

    Args:
        name: not taken by another entry.
        apart: arguments of a class that its description leaves out.
    Raises:
        ValueError: If the name is taken.
    """

    def enter(entry: Entry) -> Entry:
        if name in _ENTRIES:
            raise ValueError(f"{name!r} is registered already, for {_ENTRIES[name]}")
        _ENTRIES[name], _NAMES[entry] = entry, name
        if inspect.isclass(entry):
            _describe_objects(entry, name, apart)
        return entry

    return enter


def _describe_objects(cls: type[Any], name: str, apart: Collection[str]) -> None:
    """Make the constructor of a class record its arguments."""
    construct = cls.__init__
    signature = inspect.signature(construct)
    kept = [p.name for p in signature.parameters.values() if p.kind not in VARIABLE][1:]

    @functools.wraps(construct)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        told = {key: bound.arguments[key] for key in kept if key not in apart}
        object.__setattr__(self, "_told", told)  # bypass the __setattr__ of modules, frozen classes

    def description(self: Any) -> dict[str, Any]:
        """The arguments this was made with, in plain text."""
        return {"type": name, **describe(self._told)}

    cls.__init__ = init
    cls.description = property(description)


def describe(value: Any) -> Any:
    """Return a value as plain text, numbers, lists and dictionaries.

    Raises:
        ValueError: If it is neither plain nor registered.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if isinstance(value, functools.partial) and value.func in _NAMES and not value.args:
        return {"type": _NAMES[value.func], **describe(value.keywords)}
    if inspect.isfunction(value) and value in _NAMES:
        return {"type": _NAMES[value]}
    described = getattr(value, "description", None)
    if isinstance(described, dict):
        return described
    raise ValueError(f"{value!r} cannot be described: it is neither plain nor registered")


def build(what: str, description: Mapping[str, Any], **extra: Any) -> Any:
    """Build what a description names, and everything described inside it.

    Args:
        what: name of what is built, for the error message.
        description: as returned by ``describe``.
        extra: further arguments of the outermost constructor.
    Raises:
        ValueError: If the name is unknown, or the arguments do not fit.
        UserError: If an argument has another type than its annotation.
    """
    arguments = {key: _built(what, value) for key, value in description.items() if key != "type"}
    kind = description.get("type")
    entry = _ENTRIES.get(kind) if isinstance(kind, str) else None
    if entry is None:
        raise ValueError(f"unknown {what} {kind!r}")
    check_types(entry, arguments, what)
    try:
        if inspect.isclass(entry):
            return entry(**arguments, **extra)
        inspect.signature(entry).bind_partial(**arguments)
        return functools.partial(entry, **arguments)
    except TypeError as error:
        raise ValueError(f"{what} {kind!r} does not take these arguments: {error}") from None


def _built(what: str, value: Any) -> Any:
    """Build what is described inside a description."""
    if isinstance(value, Mapping):
        if "type" in value:
            return build(what, value)
        return {key: _built(what, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_built(what, item) for item in value]
    return value
