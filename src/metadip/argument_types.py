"""Check values of a configuration against the annotations of the constructor they are for."""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from metadip.types import UserError

NAMES = {int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}


def check_types(
    constructor: Callable[..., Any], arguments: Mapping[str, Any], path: str = ""
) -> None:
    """Reject numbers, switches and nulls where another type is expected.

    Args:
        constructor: a class or function; arguments without a specific annotation are not checked.
        arguments: values as read from YAML, by name; names that it does not take are ignored.
        path: of the settings, for the message.
    Raises:
        UserError: If a value has another type than its annotation.
    Example:
        >>> def scale(factor: float, times: int | None): ...
        >>> check_types(scale, {"factor": 2, "times": 1.5}, "picture")
        Traceback (most recent call last):
        ...
        metadip.types.UserError: picture.times=1.5 must be a whole number or null
    """
    for name, hint in _hints(constructor).items():
        if name in arguments and not _accepts(arguments[name], hint):
            value = arguments[name]
            shown = str(value).lower() if isinstance(value, bool) else value
            shown = "null" if value is None else shown
            raise UserError(f"{path}.{name}={shown} must be {_description(hint)}")


@cache
def _hints(constructor: Callable[..., Any]) -> dict[str, Any]:
    """Return the type of each argument; cached, since every composition needs it."""
    called = inspect.unwrap(constructor.__init__ if inspect.isclass(constructor) else constructor)
    return get_type_hints(called, localns=_Names(getattr(called, "__globals__", {})))


class _Names(dict[str, Any]):
    """Names in annotations; those that only type checkers import stand for any type."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Any)


def _accepts(value: Any, hint: Any) -> bool:
    """Return whether a value matches an annotation."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_accepts(value, one) for one in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, NoneType):
        return isinstance(value, hint)
    # Strings and classes are left to the constructor.
    return value is not None or hint is Any


def _description(hint: Any) -> str:
    """Return an annotation in words."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_description, get_args(hint)))
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    return NAMES.get(hint, "given" if hint is str else f"of type {getattr(hint, '__name__', hint)}")
