"""Reject settings that would never be read.

The file of a method in ``conf/method`` determines what it reads: what its keys refer to
(``${prior}``, ``${pnp.strength}``), and the parts of ``fit`` and ``callbacks`` that its constructor
has an argument for.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metadip.composing import (
    Setting,
    composed,
    conf_dir,
    keys_of_script,
    names_in,
    settings_of,
)
from metadip.hints import nearest
from metadip.types import UserError

# Settings of infer.py for the method; the run reads all others.
OF_METHODS = ("prior", "objective", "optimizer", "denoiser", "pnp", "ckpt", "callbacks", "fit")
OF_ENTRIES = ("callbacks", "stability")  # groups that hold what is built, by name
HANDED = ("callbacks", "fit")  # built by the run, for constructors that have an argument for them
# A task and a setting of it -> the setting that must have one of these values for it to be read.
NEEDS: dict[tuple[str, str], tuple[str, tuple[str | None, ...]]] = {
    ("inpaint", "ratio"): ("mask", ("random", "hole")),
    ("deblur", "kernel_std_px"): ("kernel", ("gaussian",)),
    ("deblur", "kernel_size_px"): ("kernel", ("motion", "disk")),
    ("denoise", "noise_std"): ("level", (None,)),
}
TARGET = re.compile(r"^_target_: (\S+)", re.MULTILINE)
ANY_TARGET = re.compile(r"^\s*_target_: (\S+)", re.MULTILINE)


def check_read(
    name: str, cfg: DictConfig, overrides: Sequence[str], *, shared: Sequence[str] = ()
) -> None:
    """Reject settings that neither the script nor the method uses; imports no constructor.

    Args:
        name: of the script.
        cfg: composed, unresolved.
        overrides: user settings, all of which must be read.
        shared: settings before them, which may stay unread.
    Raises:
        UserError: If there is such a setting, or one that contradicts the choice of the method.
    """
    known = list(keys_of_script(name))
    for setting in settings_of(overrides):
        if setting.root not in known:
            raise UserError(f"unknown setting {setting.path!r}{nearest(setting.path, known)}")
        if setting.root == "fit" and setting.path not in known:
            raise UserError(f"unknown setting {setting.path!r}{nearest(setting.path, known)}")
        if setting.path == "fit" and not setting.removed:
            raise UserError(f"{setting.text} must name one of its settings, such as fit.steps=50")
        if name == "infer":
            _check_of_infer(cfg, setting, [*shared, *overrides])


def check_handed(
    name: str, cfg: DictConfig, overrides: Sequence[str], *, shared: Sequence[str] = ()
) -> None:
    """Reject settings of ``fit`` and ``callbacks`` for which the method has no argument.

    Raises:
        UserError: If there is such a setting, the number of steps is given twice, or an entry of
            ``callbacks`` is not a callback.
    """
    for group in OF_ENTRIES:
        for key, node in cfg.get(group, {}).items():
            if not isinstance(node, DictConfig) or "_target_" not in node:
                raise UserError(
                    f"{group}.{key}={node} names no _target_ (~{group}.{key} removes one)"
                )
    if name != "infer":
        return
    arguments, steps = arguments_of(cfg.method._target_), cfg.fit.get("steps")
    for setting in settings_of(overrides):
        if setting.root in HANDED and _argument(setting) not in arguments:
            _refuse(cfg, setting, [*shared, *overrides])
        if setting.path == "method.steps" and steps is not None:
            raise UserError(f"{setting.text} and fit.steps={steps}: give one of them")


def arguments_of(target: str) -> frozenset[str]:
    """Return the names of a constructor's arguments."""
    return frozenset(inspect.signature(get_object(target)).parameters)


@cache
def targets_of(presets: Path) -> frozenset[str]:
    """Return the constructors that the files of a folder name."""
    texts = (path.read_text("utf-8") for path in presets.rglob("*.yaml"))
    return frozenset(target for text in texts for target in ANY_TARGET.findall(text))


def _check_of_infer(cfg: DictConfig, setting: Setting, overrides: Sequence[str]) -> None:
    method, denoiser = cfg.choices.method, cfg.choices.denoiser
    if setting.path == "denoiser" and method in names_in("denoiser") and denoiser != method:
        raise UserError(f"{setting.text} goes with method=pnp_admm, or take method={denoiser}")
    if setting.root == "task" and cfg.physics is not None and _changes(cfg, setting, overrides):
        raise UserError(f"{setting.text} has no use with physics={cfg.physics}: leave it out")
    key, read_at = NEEDS.get((cfg.choices.task, setting.path.partition(".")[2]), ("", ()))
    unread = setting.root == "task" and key and cfg.task[key] not in read_at
    if unread and _changes(cfg, setting, overrides):
        value = cfg.task[key]
        raise UserError(
            f"{setting.text} is not read with task.{key}={value}: leave one of them out"
        )
    if setting.root in OF_METHODS and setting.root not in HANDED and not _refers(cfg, setting.path):
        _refuse(cfg, setting, overrides)


def _refers(cfg: DictConfig, path: str) -> bool:
    """Return whether the method's node cannot be resolved without the setting at a path."""
    probe = copy.deepcopy(cfg)
    OmegaConf.set_struct(probe, False)
    OmegaConf.update(probe, path, "???", merge=False)
    try:
        OmegaConf.to_container(probe.method, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException:
        return True
    return False


def _argument(setting: Setting) -> str:
    """Return the constructor argument that takes a setting of the run."""
    if setting.root == "callbacks":
        return "callbacks"
    return "steps" if setting.path == "fit.steps" else "execution"


def _refuse(cfg: DictConfig, setting: Setting, overrides: Sequence[str]) -> None:
    """Raise ``UserError`` unless the setting changes nothing."""
    if not _changes(cfg, setting, overrides):
        return
    method = cfg.choices.method
    readers = [choice for choice in names_in("method") if _reads(choice, setting)]
    own = f"method.{setting.path}"
    value = OmegaConf.select(cfg, own)
    if value is None:
        hint = ": leave it out"
    elif isinstance(value, DictConfig):
        hint = f", which has its own {own}: leave it out"
    else:
        hint = f", which has {own}={value}: set {own}={setting.value}"
    listed = " or ".join(filter(None, (", ".join(readers[:-1]), *readers[-1:])))
    others = f", or take method={listed}" if readers else ""
    raise UserError(f"{setting.text} is not read by method={method}{hint}{others}")


def _changes(cfg: DictConfig, setting: Setting, overrides: Sequence[str]) -> bool:
    """Return whether the configuration would differ without a setting."""
    others = [o for o in overrides if o.lstrip("+") != setting.text]
    try:
        return bool(composed("infer", others) != cfg)
    except UserError:  # the other settings need it
        return True


def _reads(choice: str, setting: Setting) -> bool:
    """Return whether a method's file refers to the group of a setting, or is given it."""
    text = "\n".join(_texts(choice))
    if setting.root not in HANDED:
        return re.search(rf"\$\{{{setting.root}[.}}]", text) is not None
    target = TARGET.search(text)
    return target is not None and _argument(setting) in arguments_of(target[1])


def _texts(choice: str) -> Iterator[str]:
    """Yield the text of a method's file, and of the files that it includes."""
    text = (conf_dir() / "method" / f"{choice}.yaml").read_text("utf-8")
    yield text
    for included in re.findall(r"^  - (\w+)$", text, re.MULTILINE):
        if included != "_self_":
            yield from _texts(included)
