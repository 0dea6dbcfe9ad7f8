"""Compose, check and build configurations."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metadip.argument_types import check_types
from metadip.composing import choices_of, composed, conf_dir, known_keys, leaves
from metadip.hints import nearest
from metadip.limits import bounded
from metadip.settings import check_script_settings
from metadip.types import UserError
from metadip.unread import OF_METHODS, arguments_of, check_handed, check_read, targets_of

__all__ = [
    "OF_METHODS",
    "SPECIAL_KEYS",
    "Config",
    "arguments_of",
    "build",
    "check_keys",
    "check_positive",
    "check_settings",
    "check_whole",
    "choices_of",
    "compose",
    "conf_dir",
    "known_keys",
    "leaves",
    "nearest",
    "plain",
    "read_yaml",
    "to_yaml",
]

Config = DictConfig  # a composed configuration
# Parts of this package that hold constructors.
BUILDING = ("data", "physics", "tasks", "priors", "fitting", "callbacks", "meta", "methods")
SPECIAL_KEYS = {"_target_", "_convert_", "_partial_", "_recursive_", "_args_"}


def compose(
    name: str,
    overrides: Sequence[str] = (),
    *,
    shared: Sequence[str] = (),
    check: Callable[[Config], None] | None = None,
) -> Config:
    """Compose a configuration and check that every key is known and read, and every value given.

    ``cfg.choices`` has the file of each group, by group name.

    Args:
        name: of the script.
        overrides: user settings.
        shared: settings for several methods, each of which reads its own; they come first.
        check: called before constructors, and torch with them, are imported.
    Raises:
        UserError: If an override cannot be parsed, a key, group or choice is unknown, a setting is
            never read, or a value is missing or of the wrong type.
    """
    cfg = composed(name, [*shared, *overrides])
    try:
        check_read(name, cfg, overrides, shared=shared)
        if missing := sorted(OmegaConf.missing_keys(cfg)):
            raise UserError(f"{missing[0]} must be given, for example: {missing[0]}=VALUE")
        plain(cfg)  # raises if something cannot be resolved
        if check is not None:
            check(cfg)
        for path, node in _constructors(cfg):
            check_keys(node, path, allow=list(cfg.allow))
        check_handed(name, cfg, overrides, shared=shared)
        OmegaConf.resolve(cfg)
    except OmegaConfBaseException as error:
        raise UserError(
            f"cannot resolve the configuration: {str(error).splitlines()[0]}"
        ) from error
    return cfg


def _constructors(node: Any, path: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Yield every node that names a constructor, with its path."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield path, node
        for key in map(str, node):
            yield from _constructors(node[key], f"{path}.{key}" if path else key)
    elif isinstance(node, ListConfig):
        for i, item in enumerate(node):
            yield from _constructors(item, f"{path}[{i}]")


def check_keys(node: DictConfig, path: str = "", *, allow: Sequence[str] = ()) -> None:
    """Bind the keys of a node to the arguments of the constructor that it names.

    Args:
        node: with a ``_target_``.
        path: of the node, for messages.
        allow: packages that constructors may come from, besides this one.
    Raises:
        UserError: If the constructor does not exist or is not allowed, a value is of the wrong
            type, or a key is not one of its arguments; the message names the nearest one.
    """
    constructor = _constructor_of(str(node["_target_"]), path, allow)
    parameters = inspect.signature(constructor).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in map(str, node):
            if key not in parameters and key not in SPECIAL_KEYS:
                raise UserError(f"unknown setting '{path}.{key}'{nearest(key, list(parameters))}")
    # Interpolated values are checked at their source, under the name that the user gave.
    given = {str(key): node[key] for key in node if not OmegaConf.is_interpolation(node, str(key))}
    check_types(constructor, given, path)


def _constructor_of(target: str, path: str, allow: Sequence[str]) -> Callable[..., Any]:
    """Import a constructor of this package, of the presets or of an allowed package, no other.

    A name of this package must be defined in it: ``metadip.data.os.system`` is not.
    """
    parts, told = target.split("."), f"{path}._target_={target}"
    ours = len(parts) > 2 and parts[0] == "metadip" and parts[1] in BUILDING
    if not ours and parts[0] not in allow and target not in targets_of(conf_dir()):
        hint = (
            "" if parts[0] == "metadip" else f": give allow=[{parts[0]}] to run code of {parts[0]}"
        )
        raise UserError(f"{told} is not a constructor of metadip{hint}")
    try:
        constructor = _located(target)
        inspect.signature(constructor)
    except Exception as error:  # importing runs a module, which may raise anything
        raise UserError(f"{told} cannot be imported: {' '.join(str(error).split())}") from error
    if ours and not str(getattr(constructor, "__module__", "")).startswith("metadip."):
        raise UserError(f"{told} is not a constructor of metadip")
    return constructor  # type: ignore[no-any-return]


def _located(target: str) -> Any:
    """Import what a dotted name means: an attribute, else the module of that name.

    Functions may be called like their modules, and ``pydoc.locate`` takes the module on some
    versions of Python. (Hydra's ``get_object`` logs what it does not find.)
    """
    first, *parts = target.split(".")
    path, found = first, import_module(first)
    for part in parts:
        path = f"{path}.{part}"
        if isinstance(found, ModuleType) and not hasattr(found, part):
            found = import_module(path)
        else:
            found = getattr(found, part)
    return found


def check_settings(cfg: Config) -> None:
    """Check the script's own settings, which no constructor checks.

    Raises:
        UserError: If one has another type or is out of its range, see ``metadip.settings``.
    """
    check_script_settings(plain(cfg))


def check_whole(key: str, value: Any, lowest: int) -> None:
    """Raise ``UserError`` if a value is not an integer, or is below ``lowest``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise UserError(f"{key}={value} must be a whole number of at least {lowest}")


def check_positive(key: str, value: Any) -> None:
    """Raise ``UserError`` if a value is not a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UserError(f"{key}={value} must be a number above 0")


def build(node: DictConfig, **extra: Any) -> Any:
    """Build what a node describes; ``extra`` are arguments that only the program knows.

    Raises:
        UserError: If the constructor rejects a value.
    """
    key = str(node._get_full_key(None) or node["_target_"])
    try:
        # A partial first: hydra would turn extra dataclass arguments into configurations.
        with bounded(key):
            return instantiate(node, _partial_=True)(**extra)
    except UserError:
        raise
    except Exception as error:  # with settings that fit, constructors may still raise anything
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if isinstance(cause, UserError):
            raise cause from None
        told = " ".join(str(cause).split()) or type(cause).__name__
        raise UserError(f"{key}: {told[:300]}") from error


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved configuration as plain dictionaries and lists."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def to_yaml(cfg: DictConfig) -> str:
    """Return the resolved configuration as YAML."""
    return OmegaConf.to_yaml(cfg, resolve=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration written by ``to_yaml``.

    Raises:
        UserError: If the file is missing or damaged.
    """
    try:
        return plain(OmegaConf.load(path))  # type: ignore[arg-type]
    except Exception as error:  # a damaged file can raise anything, from OSError to YAMLError
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
