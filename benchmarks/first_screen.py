"""Run the commands of README's two pictures, and write what they reach.

``python benchmarks/first_screen.py --out benchmarks/results/first_screen.csv`` takes half a minute,
most of it the starts. The photographs are scikit-image's own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import skimage
from result_records import record

from metadip.report import write_csv

REPO = Path(__file__).resolve().parents[1]
PHOTOGRAPHS = Path(skimage.__path__[0]) / "data"
COMMANDS = {  # as README has them
    "coffee": "infer.py task=denoise task.noise_std=0.098 input=coffee.png image_size=256",
    "chelsea": "infer.py task=cpr input=chelsea.png image_size=256",
}


def measure(name: str) -> dict[str, Any]:
    """Reconstruct a photograph in a process of its own; return its row."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(PHOTOGRAPHS / f"{name}.png", folder)
        words = [str(REPO / "infer.py"), *COMMANDS[name].split()[1:], f"out={name}"]
        subprocess.run([sys.executable, *words], cwd=folder, check=True)
        metrics = json.loads((Path(folder) / name / "metrics.json").read_text("utf-8"))
    found = metrics["images"][0]
    return {
        "photograph": name,
        "task": metrics["task"],
        "psnr_db": round(found["psnr_db"], 3),
        "ssim": round(found["ssim"], 4),
        "seconds": round(found["seconds"], 2),
        "steps": found["steps"],
        "command": f"python {COMMANDS[name]}",
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run, and write the CSV and its record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")
    options = parser.parse_args(argv)
    write_csv(options.out, [measure(name) for name in COMMANDS])
    command = f"python benchmarks/first_screen.py --out benchmarks/results/{options.out.name}"
    record(options.out, command, note="Time of the fit alone, beside other work on the machine.")


if __name__ == "__main__":
    main()
