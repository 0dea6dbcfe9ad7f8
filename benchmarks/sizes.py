"""Time and memory of a pass and of a step by image size, whole and in tiles.

``python benchmarks/sizes.py --out sizes.csv`` prints a table and writes it. For each method:

- ``photo_pass``: one pass (``fit.steps=0``) of ``photo``, which is all that denoising needs.
- ``photo``: one step in inpainting, and its last pass.
- ``mixed64``: one step of a prior whose weights are fitted, and its last pass.

Each row is measured in a fresh process. The time is the shortest over ``--rounds``; the memory is
the peak above the process once it has been through a small image (measured by ``peak.py``).
Where a size is made both whole and in tiles, ``seam`` is the largest difference of a pixel.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peak import MALLOC, MIB, peak_bytes
from torch import Tensor
from tqdm import tqdm

from metadip import config
from metadip.methods import FitReconstructor
from metadip.priors.tiling import TILE_PX
from metadip.report import markdown_table, write_csv
from metadip.runs import build_fit
from metadip.types import InverseProblem

METHODS = {
    "photo_pass": ("ckpt=photo", "fit.steps=0"),
    "photo": ("ckpt=photo", "fit.steps=1", "method.tolerance=0"),
    "mixed64": ("ckpt=mixed64", "fit.steps=1"),
}
SIZES = ("64x64", "256x256", "512x512", "1024x1024")
PHOTOGRAPH = "4000x3000"  # 12 megapixels
WARM_UP_PX = 32
WHOLE_UP_TO_PX = 1024  # for the comparison with tiles
COLUMNS = {
    "method": "method", "size": "px", "tile_px": "tiles (px)", "seconds": "seconds",
    "mib": "peak (MiB)", "seam": "seam",
}  # fmt: skip
FORMATS = {"seconds": ".3g", "mib": ".0f", "seam": ".1e"}


def problem_of(name: str, width: int, height: int) -> InverseProblem:
    """Return a problem of a random colour image: lost pixels for steps of ``photo``, else noise."""
    x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    cfg = config.compose("infer", ["task=inpaint" if name == "photo" else "task=denoise"])
    problem: InverseProblem = config.build(cfg.task).measure(x, seed=0)
    return problem


def method_of(name: str, tile_px: int) -> FitReconstructor:
    """Build a method of the table."""
    return build_fit(config.compose("infer", [*METHODS[name], f"fit.tile_px={tile_px}"]))


def measure(name: str, size: str, tile_px: int, rounds: int) -> dict[str, Any]:
    """Measure one row in this process."""
    width, height = map(int, size.split("x"))
    method, problem = method_of(name, tile_px), problem_of(name, width, height)
    images: list[Tensor] = []

    def work() -> None:
        images[:] = [method.reconstruct([problem])[0].x_hat]

    method.reconstruct([problem_of(name, WARM_UP_PX, WARM_UP_PX)])
    mib = peak_bytes(work, torch.device("cpu")) / MIB
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    row = {"method": name, "size": size, "tile_px": tile_px, "seconds": min(seconds), "mib": mib}
    if tile_px and max(width, height) <= WHOLE_UP_TO_PX:
        whole = method_of(name, 0).reconstruct([problem])[0].x_hat
        row["seam"] = (whole - images[0]).abs().max().item()
    return row


def in_a_process(row: tuple[str, str, int], options: argparse.Namespace) -> dict[str, Any]:
    """Measure one row in a process of its own."""
    command = [
        sys.executable, __file__, "--probe", *map(str, row), "--rounds", str(options.rounds),
        "--threads", str(options.threads),
    ]  # fmt: skip
    output = subprocess.run(
        command, env={**os.environ, **MALLOC}, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def rows_of(options: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Return what is measured: method, size, side of the tiles."""
    rows = [(method, size, 0) for method in METHODS for size in options.sizes]
    rows += [("photo_pass", options.sizes[-1], tile_px) for tile_px in options.tiles]
    if options.photograph:
        rows.append(("photo_pass", options.photograph, TILE_PX))
    return rows


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), help="width x height, px")
    parser.add_argument("--tiles", type=int, nargs="+", default=[256, 512], help="sides, px")
    parser.add_argument("--photograph", default=PHOTOGRAPH, help="size of the last; '' for none")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="64 and 256 px, once, no photograph")
    parser.add_argument("--out", type=Path, help="a CSV file")
    parser.add_argument("--probe", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.quick:
        options.sizes, options.tiles, options.photograph = ["64x64", "256x256"], [128], ""
        options.rounds = 1
    return options


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print, write; return the rows."""
    options = parse(argv)
    torch.set_num_threads(options.threads)
    if options.probe:
        name, size, tile_px = options.probe
        print(json.dumps(measure(name, size, int(tile_px), options.rounds)))
        return []
    rows = [
        in_a_process(row, options)
        for row in tqdm(rows_of(options), unit="row", leave=False, disable=None)
    ]
    rows = [{"seam": None, **row} for row in rows]
    print(markdown_table(rows, COLUMNS, FORMATS))
    if options.out:
        write_csv(options.out, rows, list(COLUMNS))
    return rows


if __name__ == "__main__":
    main()
