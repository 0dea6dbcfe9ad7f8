"""Check values of a configuration against the annotations of the constructor they are for."""

from __future__ import annotations

import builtins
import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import PurePath
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)  # fmt: skip

from metadip.types import UserError

NAMES = {int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}
LARGEST = 2**63 - 1  # of whole numbers
PLAIN = (str, int, float, Sequence, NoneType)
SHOWN = 80  # characters of a bad value in an error


class Between(NamedTuple):
    """The range of a number, ends included; an annotation ``Annotated[int, Between(1)]``."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        """Return the range in words."""
        upper = "" if self.high == math.inf else f" and at most {self.high}"
        return f"of at least {self.low}{upper}"


class Above(NamedTuple):
    """The range of numbers above a limit."""

    limit: float

    def __str__(self) -> str:
        """Return the range in words."""
        return f"above {self.limit}"


def check_types(
    constructor: Callable[..., Any], arguments: Mapping[str, Any], path: str = ""
) -> None:
    """Reject values of another type than the constructor's annotations tell.

    Numbers must be finite, what is to be built must be a group of settings. The choice among words
    is left to the constructor, which knows how to tell it.

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
    check_values(_hints(constructor), arguments, path)


def check_values(hints: Mapping[str, Any], arguments: Mapping[str, Any], path: str = "") -> None:
    """Reject values of another type than the hint of the same name, see ``check_types``."""
    for name, hint in hints.items():
        if name in arguments and not _accepts(arguments[name], hint):
            where = f"{path}.{name}" if path else name
            raise UserError(f"{where}={_shown(arguments[name])} must be {_description(hint)}")


def _shown(value: Any) -> str:
    """Return a value as a user would write it, cut if it is long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"{'-' if value < 0 else ''}2**{value.bit_length() - 1} or more"
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


@cache
def _hints(constructor: Callable[..., Any]) -> dict[str, Any]:
    """Return the type of each argument; cached, since every composition needs it."""
    called = inspect.unwrap(constructor.__init__ if inspect.isclass(constructor) else constructor)
    names = _Names(getattr(called, "__globals__", {}))
    return get_type_hints(called, localns=names, include_extras=True)


class _Names(dict[str, Any]):
    """Names in annotations; those that only type checkers import stand for any type."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Any)


def _accepts(value: Any, hint: Any) -> bool:
    """Return whether a value matches an annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_accepts(value, one) for one in arguments)
    if origin is Annotated:
        return _accepts(value, arguments[0]) and all(_inside(value, r) for r in arguments[1:])
    if hint is Any or isinstance(hint, TypeVar):
        return True
    if hint in (bool, NoneType):
        return isinstance(value, hint)
    if hint in (int, float):
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST
        return whole or (hint is float and isinstance(value, float) and math.isfinite(value))
    if origin is Literal:
        return type(value) in {type(one) for one in arguments}
    if hint is str or (inspect.isclass(hint) and issubclass(hint, PurePath)):
        return isinstance(value, str)
    kind = origin or hint
    if kind is Callable or not inspect.isclass(kind) or not issubclass(kind, Collection):
        return isinstance(value, Mapping) or not isinstance(value, PLAIN)  # to be built, or built
    return _accepts_collection(value, kind, arguments)


def _inside(value: float, limits: Between | Above) -> bool:
    """Return whether a number is in a range."""
    if isinstance(limits, Above):
        return value > limits.limit
    return limits.low <= value <= limits.high


def _accepts_collection(value: Any, kind: type, arguments: tuple[Any, ...]) -> bool:
    """Return whether a value is a list or dictionary with elements as annotated."""
    if isinstance(value, Mapping):
        if issubclass(kind, Mapping):
            return all(
                _accepts(item, arguments[-1] if arguments else Any) for item in value.values()
            )
        return "_target_" in value
    if isinstance(value, str) or not isinstance(value, Sequence) or issubclass(kind, Mapping):
        return False
    fixed = kind is tuple and arguments and arguments[-1] is not ...
    if fixed and len(value) != len(arguments):
        return False
    each = arguments if fixed else (arguments or (Any,))[:1] * len(value)
    return all(map(_accepts, value, each))


def _description(hint: Any) -> str:
    """Return an annotation in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_description, arguments)))
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin is Annotated:
        return " ".join([_description(arguments[0]), *map(str, arguments[1:])])
    if hint is str or (inspect.isclass(hint) and issubclass(hint, PurePath)):
        return "text (in quotes if it looks like a number)"
    kind = origin or hint
    if inspect.isclass(kind) and issubclass(kind, Mapping):
        return "settings by name"
    if inspect.isclass(kind) and issubclass(kind, Collection):
        inner = [one for one in arguments if one is not ... and one is not Any]
        return f"a list [...]{f' of: {_description(inner[0])}' if inner else ''}"
    return NAMES.get(hint, f"settings of a {getattr(hint, '__name__', hint)}")
