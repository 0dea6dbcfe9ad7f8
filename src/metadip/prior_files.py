"""Find the files of priors, by path or, for those that come with the package, by name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from metadip.types import UserError

DEFAULT = "photo"  # the prior of who names none; conf/infer.yaml says the same


def released() -> list[str]:
    """Return the names of the priors that come with the package."""
    return sorted(path.name.removesuffix(".safetensors") for path in _released_files())


def _released_files() -> list[Path]:
    folder = Path(str(files("metadip") / "released"))
    return sorted(folder.glob("*.safetensors"))


def resolve(name_or_path: str | Path, *, key: str = "ckpt") -> Path:
    """Return the file for a released name or a path; ``key`` is the setting that named it.

    Raises:
        UserError: If it is neither a released name nor a file.
    """
    for path in _released_files():
        if path.name == f"{name_or_path}.safetensors":
            return path
    path = Path(name_or_path)
    if not path.is_file():
        raise UserError(
            f"{key}={name_or_path} is neither a file nor a released prior "
            f"({', '.join(released()) or 'none'}); train one with python train.py"
        )
    return path
