"""Find the files of priors: by path, by name here or in a folder, or in a repository of a hub."""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from metadip.types import UserError

DEFAULT = "photo"  # the prior of who names none; conf/infer.yaml says the same
FOLDER = "METADIP_PRIORS"  # environment variable: a folder of further priors, found by name
SUFFIX = ".safetensors"  # tensors and text, which no reader executes
HUB = "hf://"
HUB_FILE = "prior.safetensors"  # the one that train.py leaves
HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:/([\w./-]+))?")


def released() -> list[str]:
    """Return the names of the priors that come with the package."""
    return [path.name.removesuffix(SUFFIX) for path in _released_files()]


def _released_files() -> list[Path]:
    folder = Path(str(files("metadip") / "released"))
    return sorted(folder.glob(f"*{SUFFIX}"))


def _own_files(key: str) -> list[Path]:
    """Return the priors in the folder that the environment names."""
    named = os.environ.get(FOLDER)
    if not named:
        return []
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise UserError(f"{FOLDER}={named} is not a folder, and {key} is looked up there by name")
    return sorted(folder.glob(f"*{SUFFIX}"))


def resolve(name_or_path: str | Path, *, key: str = "ckpt") -> Path:
    """Return the file of a prior; ``key`` is the setting that named it.

    It is the name of a released prior, or of a ``.safetensors`` file in the folder that the
    environment variable METADIP_PRIORS names, or ``hf://owner/name[/file]``, or a path. A released
    prior goes before a file of the same name.

    Raises:
        UserError: If it is none of these, the folder does not exist, or the hub does not give it.
    """
    text = str(name_or_path)
    if text.startswith(HUB):
        return _from_hub(text, key)
    for path in _released_files():
        if path.name == f"{text}{SUFFIX}":
            return path
    path = Path(name_or_path)
    if path.is_file():
        return path
    own = _own_files(key)
    for file in own:
        if file.name == f"{text}{SUFFIX}":
            return file
    names = [*released(), *(file.name.removesuffix(SUFFIX) for file in own)]
    raise UserError(
        f"{key}={text} is neither a file nor a released prior ({', '.join(names) or 'none'}); "
        "train one with python train.py"
    )


def _from_hub(text: str, key: str) -> Path:
    """Return the file of ``hf://owner/name[/file]``, fetched unless it is here already."""
    match = HUB_NAME.fullmatch(text.removeprefix(HUB))
    if match is None:
        raise UserError(f"{key}={text} must be {HUB}owner/name or {HUB}owner/name/FILE{SUFFIX}")
    repository, file = match[1], match[2] or HUB_FILE
    if not file.endswith(SUFFIX):
        raise UserError(f"{key}={text}: only {SUFFIX} files are read from a hub, not {file}")
    return _download(repository, file, f"{key}={text}")


@cache  # looked at before the run and in it
def _download(repository: str, file: str, asked: str) -> Path:
    """Return a file of a repository on the Hugging Face Hub."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )
    except ImportError as error:
        raise UserError(f"{asked} needs huggingface_hub: pip install 'metadip[hub]'") from error
    try:
        return Path(hf_hub_download(repository, file))
    except LocalEntryNotFoundError as error:  # an EntryNotFoundError too
        raise UserError(f"{asked} is not on this machine, and the hub cannot be reached") from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{asked}: there is no repository {repository} for you") from error
    except EntryNotFoundError as error:
        raise UserError(f"{asked}: the repository {repository} has no file {file}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{asked} cannot be fetched: {str(error).splitlines()[0]}") from error
