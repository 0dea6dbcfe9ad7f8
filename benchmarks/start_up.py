"""Measure the processor time of a start: of help, of a mistake, of a small image, of the libraries.

``python benchmarks/start_up.py --out start_up.csv`` prints a table and writes it. Every command is
a fresh process with one thread; its user and system time count, and those of what it starts. A
first round, which is not counted, compiles bytecode; then the median of ``--rounds`` is taken.
``--root FOLDER`` measures another checkout.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import skimage
from PIL import Image
from tqdm import tqdm

from metadip.report import markdown_table, write_csv

REPO = Path(__file__).resolve().parents[1]
IMAGE_PX = 64
# {folder} is an empty folder with image.png
COMMANDS = {
    "help": ("infer.py", "--help"),
    "mistake": ("infer.py", "input=missing.png"),
    "denoise": (
        *("infer.py", "input={folder}/image.png", "out={folder}/out", "task=denoise"),
        *("task.noise_std=0.098", "threads=1", "trainer.accelerator=cpu"),
    ),
    "libraries": ("-c", "import torch, lightning, deepinv"),
}
EXIT_CODES = {"mistake": 2}
COLUMNS = {"name": "start", "command": "command", "cpu_s": "processor s"}


def cpu_seconds(name: str, root: Path) -> float:
    """Return the user and system time of a command, s."""
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        with Image.open(Path(skimage.__path__[0]) / "data" / "astronaut.png") as image:
            image.resize((IMAGE_PX, IMAGE_PX)).save(Path(folder) / "image.png")
        words = [word.format(folder=folder) for word in COMMANDS[name]]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, *words], cwd=root, env=environment, capture_output=True, text=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != EXIT_CODES.get(name, 0):
        sys.exit(f"{name}: exit {done.returncode}: {done.stderr[-500:]}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=REPO, help="checkout to measure")
    parser.add_argument("--rounds", type=int, default=3, help="counted calls of each command")
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--quick", action="store_true", help="help alone, once")
    parser.add_argument("--out", type=Path, help="CSV to write")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.only = 1, ["help"]
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print, and return the rows of the table."""
    options = parse(argv)
    seconds: dict[str, list[float]] = {name: [] for name in options.only}
    rounds = [(n, name) for n in range(options.rounds + 1) for name in options.only]
    for number, name in tqdm(rounds, unit="start", leave=False, disable=None):
        measured = cpu_seconds(name, options.root.resolve())
        if number:
            seconds[name].append(measured)
    rows = [
        {
            "name": name,
            "command": " ".join(("python", *COMMANDS[name])).replace("{folder}/", ""),
            "cpu_s": round(statistics.median(seconds[name]), 2),
        }
        for name in options.only
    ]
    print(markdown_table(rows, COLUMNS, {"cpu_s": ".2f"}))
    if options.out:
        write_csv(options.out, rows)
    return rows


if __name__ == "__main__":
    main()
