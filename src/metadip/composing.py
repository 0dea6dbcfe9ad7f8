"""Compose presets and user settings with Hydra, which takes a second and does not import torch."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, ListConfig, OmegaConf

from metadip.hints import RENAMED, meant, nearest
from metadip.types import UserError
from metadip.variants import for_task


class Setting(NamedTuple):
    """One user setting: its dotted path in the configuration, and how it was written."""

    path: str
    value: Any
    text: str
    removed: bool

    @property
    def root(self) -> str:
        """The group, or the key of the script, that it belongs to."""
        return self.path.partition(".")[0]


def conf_dir() -> Path:
    """Return the folder of presets, in the checkout or in the installed package."""
    spec = find_spec("metadip")
    package = Path(str(spec.origin)).parent if spec else Path(__file__).parent
    installed, checkout = package / "conf", package.parents[1] / "conf"
    return checkout if (checkout / "train.yaml").is_file() else installed


def names_in(group: str) -> list[str]:
    """Return the choices of a group."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def composed(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a configuration, unresolved; ``choices`` has the file of each group.

    Raises:
        UserError: If an override cannot be parsed, or a key, group or choice is unknown.
    """
    cfg = _composed(name, overrides, conf_dir())
    choices = _choices(cfg)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    cfg.choices = choices
    OmegaConf.set_struct(cfg, True)
    return cfg


def choices_of(name: str, overrides: Sequence[str] = ()) -> dict[str, str]:
    """Return the file that each group uses, by group name, without reading the files.

    Raises:
        UserError: If a key, group or choice is unknown.
    """
    chosen = _choices(_composed(name, overrides, conf_dir()))
    return {group: choice for group, choice in chosen.items() if choice not in (None, "null")}


def settings_of(overrides: Sequence[str]) -> list[Setting]:
    """Return the settings in overrides, with the values of a dictionary one by one.

    Example:
        >>> [(s.path, s.value) for s in settings_of(["task@val_task=cs", "fit={steps: 5}"])]
        [('val_task', 'cs'), ('fit.steps', 5)]

    Raises:
        UserError: If an override cannot be parsed.
    """
    for text in overrides:
        if not text.isprintable():
            raise UserError(f"{text!r}: a setting is one line of readable text")
        if text.startswith("-"):
            name = text.lstrip("-").partition("=")[0]
            raise UserError(f"{text}: settings are written without dashes, {name}=VALUE")
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except Exception as error:  # the parser also raises exceptions of its lexer
        raise UserError(_unparsed(overrides, error)) from error
    return [setting for override in parsed for setting in _settings(override)]


def _unparsed(overrides: Sequence[str], error: Exception) -> str:
    """Say which of the overrides cannot be parsed, and how settings are written."""
    for text in overrides:
        if "=" not in text.lstrip("~"):
            return (
                f"{text}: a setting is written NAME=VALUE, for example seed=1 (--help lists them)"
            )
    return " ".join(str(error).split())


def _settings(override: Override) -> Iterator[Setting]:
    path = (override.package or override.key_or_group).replace("/", ".")
    text, removed = str(override.input_line).lstrip("+"), override.is_delete()
    value = None if removed else override.value()
    for key, leaf in leaves(value).items():
        yield Setting(f"{path}.{key}" if key else path, leaf, text, removed)


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


@cache
def groups_of(name: str, *, optional: bool = False) -> tuple[str, ...]:
    """Return the places of the groups of a script that must be chosen, or of all."""
    main: Any = OmegaConf.load(conf_dir() / f"{name}.yaml")
    groups = [str(key) for item in main.defaults if item != "_self_" for key in item]
    wanted = [group for group in groups if optional or not group.startswith("optional ")]
    return tuple(group.removeprefix("optional ").rpartition("@")[2] for group in wanted)


@cache
def keys_of_script(name: str) -> tuple[str, ...]:
    """Return the groups and keys of a script's main file, nested ones included."""
    main: Any = OmegaConf.load(conf_dir() / f"{name}.yaml")
    del main["defaults"]
    return (*groups_of(name, optional=True), *known_keys(main))


def _check_names(name: str, overrides: Sequence[str]) -> None:
    """Reject former names, with the present ones, choices that name no file, and Hydra's own."""
    needed, every = groups_of(name), groups_of(name, optional=True)
    for path, value, text, removed in settings_of(overrides):
        if path.partition(".")[0] == "hydra":
            raise UserError(f"unknown setting {path!r} (--help lists them)")
        if removed and path in keys_of_script(name):
            raise UserError(f"{text}: {path} is needed, give it a value instead")
        chosen = value if path == "callbacks" and isinstance(value, list) else [value]
        named = all(isinstance(one, str) for one in chosen)
        if path in every and not removed and not named and (value is not None or path in needed):
            raise UserError(
                f"{text}: {path} is the name of one of its files ({', '.join(names_in(path))})"
            )
        for old, new in RENAMED.items():
            if path == old or path.startswith(f"{old}.") or f"{path}={value}" == old:
                raise UserError(f"{text}: {old} is now {new}")


def _composed(name: str, overrides: Sequence[str], presets: Path) -> DictConfig:
    """Compose; where only values are set, they go into what was composed of the same choices."""
    _check_names(name, overrides)
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = [one for one in parsed if _is_value(one, presets)]
    choices = tuple(str(one.input_line) for one in parsed if one not in values)
    if all(one.type == OverrideType.CHANGE for one in parsed):
        cfg = copy.deepcopy(_of_choices(name, choices, presets))
        try:
            for one in values:
                OmegaConf.update(cfg, one.key_or_group, one.value(), merge=True)
            return cfg
        except Exception:  # composing all of it says what is wrong
            pass
    return copy.deepcopy(_of_choices(name, tuple(overrides), presets))


def _is_value(override: Override, presets: Path) -> bool:
    """Return whether an override sets a value, rather than choosing a file of a group."""
    group = (presets / override.key_or_group).is_dir()
    return not (group or override.package or override.is_sweep_override())


@lru_cache(maxsize=64)  # to copy takes a twentieth of the time
def _of_choices(name: str, overrides: tuple[str, ...], presets: Path) -> DictConfig:
    """Compose from a folder of presets, which stays as it is while a program runs."""
    with _own_hydra(presets):
        try:
            cfg = hydra_compose(name, overrides=for_task(overrides), return_hydra_config=True)
        except Exception as error:  # Hydra raises anything, such as TypeError for callbacks=[{}]
            raise UserError(_one_line(error, _known(name, overrides))) from error
    _check_choices(cfg)
    return cfg


def _check_choices(cfg: DictConfig) -> None:
    """Reject a choice that is not there; Hydra ignores one that is optional."""
    for place, choice in _choices(cfg).items():
        group = place.partition("@")[0]
        if choice not in (None, "null") and choice not in names_in(group):
            raise UserError(_unknown_choice(group, str(choice)))


def _unknown_choice(group: str, choice: str) -> str:
    options = names_in(group)
    hint = meant(f"{group}={choice}".lower()) or nearest(choice.lower(), options)
    return f"{group}={choice} is unknown{hint} (choices: {', '.join(options)})"


def _known(name: str, overrides: Sequence[str]) -> list[str]:
    """Return the keys of what the overrides choose, or, if that fails, of the default choices."""
    groups = {folder.name for folder in conf_dir().iterdir() if folder.is_dir()}
    choices = [o for o in overrides if o.partition("=")[0].partition("@")[0] in groups]
    try:
        return known_keys(hydra_compose(name, overrides=choices))
    except Exception:  # as above
        return known_keys(hydra_compose(name))


def _choices(cfg: DictConfig) -> dict[str, Any]:
    chosen = cfg.hydra.runtime.choices
    return {str(k): v for k, v in chosen.items() if not str(k).startswith("hydra/")}


@contextmanager
def _own_hydra(presets: Path) -> Iterator[None]:
    """Read our presets without affecting the Hydra state of a program that uses this package."""
    outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(presets)):
            yield
    finally:
        GlobalHydra.instance().hydra = outer


def _one_line(error: Exception, known: Sequence[str]) -> str:
    """Describe in one line what is wrong with the overrides, with the nearest known key."""
    text = f"{error} {error.__cause__ or ''}"
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, choice = found[1].rpartition("/")
        return _unknown_choice(group, choice)
    if found := re.search(r"Could not load '([\w]+)/([\w]+)'", text):
        return _unknown_choice(found[1], found[2])
    if found := re.search(r"Could not (?:override|delete|append)[^']*'([^']+)'", text):
        key = found[1].split("@")[0]
        public = [path for path in known if not path.rpartition(".")[2].startswith("_")]
        name = key.lower().rpartition(".")[2]
        own = {path.rpartition(".")[2] for path in public if not path.startswith("pnp.")}
        hint = nearest(key, public) if name in own else meant(name) or nearest(key, public)
        return f"unknown setting {key!r}{hint} (--help lists them)"
    return " ".join(str(error).split())


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
