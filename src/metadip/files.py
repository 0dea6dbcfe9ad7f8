"""Write files atomically."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from metadip.types import UserError

LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp(\.[^.]*)?")  # the temporary names used below


class WriteError(UserError):
    """What a run makes cannot be written: no method's fault, so the run ends."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, and rename it to ``path`` if the block succeeds.

    After an error or an interruption ``path`` is unchanged, and the temporary file is removed. The
    temporary name keeps the suffix. Missing folders are created.

    Raises:
        UserError: If the folder or the file cannot be written.
    """
    path = Path(path)
    prepare_folder(path.parent)
    temporary = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise WriteError(
            f"cannot write '{path}': {_reason(error)}; choose another place"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed run left in a folder, but not in its subfolders."""
    for file in folder.glob(".*"):
        if LEFTOVER.fullmatch(file.name):
            file.unlink(missing_ok=True)


def prepare_folder(folder: str | Path) -> Path:
    """Create a folder if needed, and make sure that files can be written there.

    Raises:
        UserError: If it cannot be created or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{secrets.token_hex(4)}.tmp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write to folder '{folder}': {_reason(error)}; choose another folder"
        ) from error
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a run folder; the lock ends with this process.

    Without effect where the system or the file system has no such locks.

    Raises:
        UserError: If another run holds the folder.
    """
    try:
        import fcntl

        place = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(place)
        raise UserError(
            f"another run is writing to out={folder}: wait until it ends, or choose another out"
        ) from None
    except OSError:  # a network file system without locks
        pass
    try:
        yield
    finally:
        os.close(place)


def keep_earlier(path: Path) -> None:
    """Rename a file that an earlier part of a run left and this one would replace.

    ``metrics.csv`` becomes ``metrics.1.csv``, the next one ``metrics.2.csv`` and so on, in
    chronological order. Only the first of several processes does so.
    """
    from lightning.pytorch.utilities import rank_zero_only

    if path.is_file():
        names = (path.with_suffix(f".{number}{path.suffix}") for number in count(1))
        rank_zero_only(path.rename)(next(name for name in names if not name.exists()))


def write_json(path: str | Path, content: Any) -> None:
    """Write standard JSON: NaN and infinities become null, and tensors become lists.

    Raises:
        UserError: If the file cannot be written.
        TypeError: If ``content`` holds something that JSON cannot represent.
    """
    text = json.dumps(_plain(content), indent=2, allow_nan=False, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON types."""
    if hasattr(value, "tolist"):  # a tensor or a numpy array
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
