"""Compose, check and build configurations: the only module that touches hydra and omegaconf."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metadip.argument_types import check_types
from metadip.types import UserError

Config = DictConfig  # what the rest of the package calls a composed configuration
# Whole-number settings of the scripts: the lowest value, and whether null may stand instead.
WHOLE_NUMBERS = {
    "seed": (0, False),
    "image_size": (1, True),
    "threads": (1, True),
    "checkpoint_minutes": (0, False),
    "count": (1, False),
    "fit.steps": (0, True),
    "fit.batch_size": (1, False),
}
SWITCHES = {  # and whether null may stand instead
    **dict.fromkeys(
        ("overwrite", "gif", "progress", "debug", "quick", "fit.backtracking", "rescale"), False
    ),
    "fit.stacked": True,
}
SPECIAL_KEYS = {"_target_", "_convert_", "_partial_", "_recursive_", "_args_"}


def conf_dir() -> Path:
    """Return the folder of presets: of the checkout, or inside the package when installed."""
    spec = find_spec("metadip")
    package = Path(str(spec.origin)).parent if spec else Path(__file__).parent
    installed, checkout = package / "conf", package.parents[1] / "conf"
    return checkout if (checkout / "train.yaml").is_file() else installed


def compose(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a configuration and check that every key is known and every value given.

    ``cfg.choices`` tells which file each group took, by group name.

    Raises:
        UserError: an override that cannot be parsed, an unknown key or group or choice, or a value
            that must be given.
    """
    cfg = _composed(name, overrides)
    choices = _choices(cfg)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    cfg.choices = choices
    OmegaConf.set_struct(cfg, True)
    try:
        if missing := sorted(OmegaConf.missing_keys(cfg)):
            raise UserError(f"{missing[0]} must be given, for example: {missing[0]}=VALUE")
        for path, node in _constructors(cfg):
            check_keys(node, path)
        OmegaConf.resolve(cfg)
    except OmegaConfBaseException as error:
        raise UserError(
            f"cannot resolve the configuration: {str(error).splitlines()[0]}"
        ) from error
    return cfg


def choices_of(name: str, overrides: Sequence[str] = ()) -> dict[str, str]:
    """Return the file that each group takes, by group name, without a look at what is in them.

    Raises:
        UserError: an unknown key or group or choice.
    """
    chosen = _choices(_composed(name, overrides))
    return {group: choice for group, choice in chosen.items() if choice not in (None, "null")}


def _composed(name: str, overrides: Sequence[str]) -> DictConfig:
    with _own_hydra():
        try:
            return hydra_compose(name, overrides=list(overrides), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise UserError(_one_line(error, _known(name, overrides))) from error


def _known(name: str, overrides: Sequence[str]) -> list[str]:
    """Return the keys of what the overrides choose, or, if that fails, of the usual choices."""
    groups = {folder.name for folder in conf_dir().iterdir() if folder.is_dir()}
    choices = [o for o in overrides if o.partition("=")[0].partition("@")[0] in groups]
    try:
        return known_keys(hydra_compose(name, overrides=choices))
    except (HydraException, OmegaConfBaseException, ValueError):
        return known_keys(hydra_compose(name))


def _choices(cfg: DictConfig) -> dict[str, Any]:
    chosen = cfg.hydra.runtime.choices
    return {str(k): v for k, v in chosen.items() if not str(k).startswith("hydra/")}


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Read our presets, and leave the Hydra of a program that uses this package as it was."""
    outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
            yield
    finally:
        GlobalHydra.instance().hydra = outer


def _one_line(error: Exception, known: Sequence[str]) -> str:
    """Say in one line what is wrong with the overrides, naming the nearest known key."""
    text = f"{error} {error.__cause__ or ''}"
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, choice = found[1].rpartition("/")
        folder = conf_dir() / group
        options = sorted(path.stem for path in folder.glob("*.yaml"))
        hint = nearest(choice, options)
        return f"{group}={choice} is unknown{hint} (choices: {', '.join(options)})"
    if found := re.search(r"Could not (?:override|delete|append)[^']*'([^']+)'", text):
        key = found[1].split("@")[0]
        return f"unknown setting {key!r}{nearest(key, known)} (--help lists them)"
    return " ".join(str(error).split())


def nearest(word: str, known: Sequence[str]) -> str:
    """Return ``, did you mean ...?`` for the nearest known word, or nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not close:
        tails = {name.rpartition(".")[2]: name for name in known}
        tail = difflib.get_close_matches(word.rpartition(".")[2], tails, n=1, cutoff=0.6)
        close = [tails[tail[0]]] if tail else []
    return f", did you mean {close[0]!r}?" if close else ""


def known_keys(cfg: DictConfig | ListConfig, prefix: str = "") -> list[str]:
    """Return every key of a configuration with its dotted path."""
    keys: list[str] = []
    if not isinstance(cfg, DictConfig):
        return keys
    for key in map(str, cfg):
        path = f"{prefix}{key}"
        keys.append(path)
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none():
            keys += known_keys(node, f"{path}.")
    return keys


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


def check_keys(node: DictConfig, path: str = "") -> None:
    """Bind the keys of a node to the arguments of the constructor that it names.

    Raises:
        UserError: the constructor does not exist, a value is of the wrong type, or a key is none of
            its arguments; the nearest one is named.
    """
    try:
        constructor = get_object(node["_target_"])
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}._target_={node['_target_']} cannot be imported: {error}"
        ) from error
    parameters = inspect.signature(constructor).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in map(str, node):
            if key not in parameters and key not in SPECIAL_KEYS:
                raise UserError(f"unknown setting '{path}.{key}'{nearest(key, list(parameters))}")
    # What is taken over from elsewhere is checked there, under the name that the user gave.
    given = {str(key): node[key] for key in node if not OmegaConf.is_interpolation(node, str(key))}
    check_types(constructor, given, path)


def check_settings(cfg: Config) -> None:
    """Refuse values of the script's own settings that no constructor would look at.

    Raises:
        UserError: one of ``WHOLE_NUMBERS`` is none, or a switch is neither true nor false.
    """
    settings = plain(cfg)
    settings |= {f"fit.{key}": value for key, value in settings.get("fit", {}).items()}
    for key, (lowest, optional) in WHOLE_NUMBERS.items():
        if key in settings and not (optional and settings[key] is None):
            check_whole(key, settings[key], lowest)
    for key, optional in SWITCHES.items():
        allowed = (True, False, None) if optional else (True, False)
        if key in settings and settings[key] not in allowed:
            raise UserError(f"{key}={settings[key]} must be true or false")


def check_whole(key: str, value: Any, lowest: int) -> None:
    """Refuse what is no whole number, or below the lowest.

    Raises:
        UserError: it is so.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise UserError(f"{key}={value} must be a whole number of at least {lowest}")


def check_positive(key: str, value: Any) -> None:
    """Refuse what is no finite number above 0, by a ``UserError``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UserError(f"{key}={value} must be a number above 0")


def build(node: DictConfig, **extra: Any) -> Any:
    """Build what a node describes; ``extra`` are arguments that only the program knows.

    Raises:
        UserError: the constructor refused a value.
    """
    try:
        # As a partial first: hydra would make configurations of extra dataclass arguments.
        return instantiate(node, _partial_=True)(**extra)
    except UserError:
        raise
    except (InstantiationException, ValueError, TypeError, OSError) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if isinstance(cause, UserError):
            raise cause from None
        if not isinstance(cause, (ValueError, TypeError, OSError)):
            raise
        key = str(node._get_full_key(None) or node["_target_"])
        raise UserError(f"{key}: {' '.join(str(cause).split())}") from error


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved configuration as plain dictionaries and lists."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def to_yaml(cfg: DictConfig) -> str:
    """Return the resolved configuration as YAML."""
    return OmegaConf.to_yaml(cfg, resolve=True)


def leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return every setting of nested dictionaries by its dotted path.

    Example:
        >>> leaves({"fit": {"steps": 5}, "seed": 0})
        {'fit.steps': 5, 'seed': 0}
    """
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration that ``to_yaml`` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return plain(OmegaConf.load(path))  # type: ignore[arg-type]
    except Exception as error:  # damage raises anything, from OSError to YAMLError
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
