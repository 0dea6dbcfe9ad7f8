"""Install the built wheel into fresh environments, and try it in an empty folder, with times.

    python benchmarks/fresh_install.py --pythons 3.11 3.12 3.13 --out fresh_install.csv

For each Python a virtual environment is made with uv, the wheel is installed with a compiler that
always fails, and ``metadip infer`` restores a picture of scikit-image, ``metadip train`` takes two
steps of the engine that needs no learn2learn, and the demo runs with few steps of DIP. Environments
are removed again. A step that fails ends the program with what it said.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from result_records import record

from metadip.report import markdown_table, write_csv

REPO = Path(__file__).resolve().parents[1]
TRAIN = (
    "data=sample", "learner=functional", "image_size=32", "trainer.max_steps=2",
    "learner.inner_steps=3", "learner.multi_step_from=1", "val_steps=[0,3]",
    "data.loader.epoch_size=2", "data.loader.val_size=1", "out=train",
)  # fmt: skip
INFER = ("task=denoise", "task.noise_std=0.098", "image_size=64", "out=infer")
PICTURE = "import skimage; print(skimage.__path__[0] + '/data/coffee.png')"
ABSENT = ("learn2learn", "ptwt", "scico")  # extras


def find_uv() -> str:
    """Return uv, that of the system or of the checkout."""
    found = shutil.which("uv") or shutil.which("uv", path=REPO / ".uv" / "bin")
    if found is None:
        raise FileNotFoundError("uv builds and installs the wheel, and is not installed")
    return found


def clean_environment() -> dict[str, str]:
    """Return the environment without a compiler, or paths of this checkout."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "CC": "/bin/false", "CXX": "/bin/false"}


def steps_of(uv: str, wheel: Path, python: str, place: Path, extra: Sequence[str]) -> Any:
    """Yield the name and the command of each step; later ones need what earlier ones made."""
    venv = place / "venv"
    inside = venv / "bin" / "python"
    yield "environment", [uv, "venv", "-q", "--python", python, str(venv)]
    yield "install", [uv, "pip", "install", "-q", "--python", str(inside), *extra, str(wheel)]
    missing = f"import importlib.util as u; assert not any(map(u.find_spec, {ABSENT}))"
    yield "extras are absent", [str(inside), "-c", missing]
    picture = subprocess.run([inside, "-c", PICTURE], capture_output=True, text=True, check=True)
    metadip = str(venv / "bin" / "metadip")
    yield "metadip infer", [metadip, "infer", f"input={picture.stdout.strip()}", *INFER]
    yield "metadip train", [metadip, "train", *TRAIN]
    yield "metadip.demo", [str(inside), "-m", "metadip.demo", "--dip-steps", "20"]


def try_wheel(wheel: Path, python: str, extra: Sequence[str]) -> list[dict[str, Any]]:
    """Install and try the wheel; return a row per step with its seconds.

    Raises:
        RuntimeError: If a step fails; the text is what it said.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        empty = place / "empty"
        empty.mkdir()
        for name, command in steps_of(find_uv(), wheel, python, place, extra):
            begin = time.monotonic()
            done = subprocess.run(
                command, cwd=empty, env=clean_environment(), capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"{python}: {name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
            rows.append({"python": python, "step": name, "seconds": time.monotonic() - begin})
    return rows


def build(folder: Path) -> Path:
    """Build the wheel; return its path."""
    subprocess.run([find_uv(), "build", "--wheel", "-q", "-o", folder, REPO], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def main(argv: Sequence[str] | None = None) -> list[Mapping[str, Any]]:
    """Try all Pythons; print and write the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument("--pythons", nargs="+", default=[own], help="versions or paths")
    parser.add_argument("--uv-options", nargs="*", default=[], help="of uv pip install, without --")
    parser.add_argument("--out", type=Path, help="a CSV file, with its record")
    options = parser.parse_args(argv)
    extra = [f"--{option}" for option in options.uv_options]
    rows: list[Mapping[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB", flush=True)
        for python in options.pythons:
            rows += try_wheel(wheel, python, extra)
            if options.out:
                write_csv(options.out, rows)
                words = ["--pythons", *options.pythons, "--out", options.out.name]
                record(options.out, f"python benchmarks/fresh_install.py {' '.join(words)}")
    titles = {"python": "Python", "step": "step", "seconds": "s"}
    print(markdown_table(rows, titles, {"seconds": ".1f"}))
    return rows


if __name__ == "__main__":
    main()
