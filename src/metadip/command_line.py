"""The command line of the scripts: compose, run, report errors in one line, and ``--help``."""

from __future__ import annotations

import os
import re
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence

from metadip.config import Config, check_settings, choices_of, compose, conf_dir
from metadip.paths import check_paths
from metadip.signals import Stopped, signals_stop
from metadip.types import UserError

# Waiting OpenMP threads sleep instead of spinning: beside another busy process, a spinning run on
# all cores takes many times as long; alone, a sleeping one takes a third less processor time.
NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE)
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def main(name: str, run: Callable[[Config], None], argv: Sequence[str] | None = None) -> int:
    """Run a script: compose from the command line, run, and report a user error in one line.

    What does not need torch is checked first, which takes a second.

    Returns:
        Exit code: 0, 2 after a user error, 130 when interrupted, 143 when terminated.
    """
    try:
        with signals_stop():
            return _main(name, run, argv)
    except (Stopped, KeyboardInterrupt) as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            return 0  # one of several processes: Lightning kills the first one if another fails
        stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
        print(f"stopped by {stopped.name}: what was finished is kept", file=sys.stderr)
        return stopped.number + 128


def _main(name: str, run: Callable[[Config], None], argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    overrides = [argument for argument in arguments if argument not in ("--help", "-h")]
    set_thread_policy()
    debug = any(argument.lower() in ("debug=true", "debug=1") for argument in arguments)
    try:
        if overrides != arguments:
            print(help_text(name, overrides))
        else:
            run(compose(name, overrides, check=lambda cfg: _check(name, cfg)))
    except UserError as error:
        if debug:
            traceback.print_exc()
        return _told(str(error))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not NO_MEMORY.search(str(error)):
            raise
        if debug:
            traceback.print_exc()
        return _told(f"not enough memory: {str(error)[:200]}")
    except OSError as error:  # a full disk, in a library's own file
        if debug:
            traceback.print_exc()
        place = f"'{error.filename}'" if error.filename else "a file of the run"
        return _told(f"cannot write or read {place}: {(error.strerror or str(error)).lower()}")
    return 0


def _told(error: str) -> int:
    print(f"error: {' '.join(error.split())}", file=sys.stderr)
    return 2


def set_thread_policy() -> None:
    """Let waiting threads sleep, unless the user's environment sets a policy.

    Call this before torch is imported.
    """
    if not WAITING.keys() & os.environ.keys():
        os.environ.update(WAITING)


def _check(name: str, cfg: Config) -> None:
    """Check what does not need torch."""
    check_settings(cfg)
    check_paths(name, cfg)


def help_text(name: str, overrides: Sequence[str] = ()) -> str:
    """Describe a script: the choices of every group, its settings, and those of each choice."""
    main_file = (conf_dir() / f"{name}.yaml").read_text("utf-8")
    named = re.findall(r"^ *- (?:optional )?(\w+)[@:]", main_file, re.MULTILINE)
    groups = sorted(group for group in set(named) if (conf_dir() / group).is_dir())
    choices = [f"  {group}={'|'.join(_names_in(group))}" for group in groups]
    chosen = choices_of(name, overrides)
    sections: dict[str, str] = {}  # by file: a file chosen twice is shown once
    for key in sorted(chosen, key=lambda key: ("@" in key, key)):
        group, _, place = key.partition("@")
        _describe(group, chosen[key], place or group, sections)
    # Hydra does not count a list of files among its choices: callbacks=[es_wmv,es_emv].
    for group, listed in re.findall(r"^(\w+)=\[(.*)\]$", "\n".join(overrides), re.MULTILINE):
        for choice in re.findall(r"\w+", listed) if group in groups else ():
            _describe(group, choice, group, sections)
    return "\n".join([
        f"usage: metadip {name} [SETTING=VALUE ...]",
        f"       metadip {name} [GROUP=CHOICE ...] --help",
        f"or python {name}.py in place of metadip {name}",
        "", "choices:", *choices, "", "settings:", main_file, *sections.values(),
    ])  # fmt: skip


def _names_in(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def _describe(group: str, choice: str, place: str, sections: dict[str, str]) -> None:
    """Add the commented settings of a file, and of the files of its group that it includes."""
    file = f"{group}={choice}"
    if file in sections:
        sections[file] = f"{place}, {sections[file]}"
        return
    text = (conf_dir() / group / f"{choice}.yaml").read_text("utf-8")
    sections[file] = f"{place}, from {file}:\n{textwrap.indent(text, '  ')}"
    for included, below in re.findall(r"^  - (\w+)(?:@([\w.]+))?(?: +#.*)?$", text, re.MULTILINE):
        if included in _names_in(group):
            _describe(group, included, f"{place}.{below}" if below else place, sections)
