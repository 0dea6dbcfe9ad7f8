"""Where a result comes from: settings, commit and versions, saved beside it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from metadip.files import atomic_path, write_json

PACKAGES = ("metadip", "torch", "lightning", "deepinv", "kornia", "torchmetrics", "learn2learn")


def save_provenance(out: Path, *, config_yaml: str, **more: object) -> None:
    """Write ``config.yaml`` and ``environment.json`` (Python, command, git commit, packages, more).

    Raises:
        UserError: If ``out`` cannot be written.
    """
    with atomic_path(out / "config.yaml") as temporary:
        temporary.write_text(config_yaml, encoding="utf-8")
    facts = {"python": platform.python_version(), "argv": sys.argv, "git_commit": git_commit()}
    versions = {name: _version(name) for name in PACKAGES}
    write_json(out / "environment.json", facts | versions | more)


def _version(package: str) -> str | None:
    """Return the version of a package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine() -> dict[str, str | int | None]:
    """Describe the machine: processor, cores, threads, GPU if there is one, PyTorch version."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }


def git_commit() -> str | None:
    """Return the commit of the checkout that the code runs from, None for an installed package."""
    file = Path(__file__)
    # The second name fails in a repository without this file, such as one around .venv.
    command = ["git", "-C", str(file.parent), "rev-parse", "HEAD", f"HEAD:./{file.name}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.split()[0]
