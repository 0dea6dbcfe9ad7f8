"""Score every released prior on the first test images: one number to compare before and after.

    python benchmarks/released_scores.py --faces FACES --natural BSDS500 --out scores.csv

Each row of the CSV is the mean PSNR of a prior on one task and image set after its method's own
number of steps. Operators are the structured ones. Rows that are there are not computed again.
It is run before and after a change of the core, which should not move these numbers.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from result_records import record

from metadip import config, runs
from metadip.data import CelebA, ImageSource, NaturalPatches, SampleKey, seed_of

# Each prior, the settings of infer.py that use it, and the side of its images in px.
PRIORS: dict[str, tuple[list[str], int]] = {
    "photo": (["ckpt=photo"], 64),
    "mixed64": (["ckpt=mixed64"], 64),
    "faces64": (["ckpt=faces64"], 64),
    "natural64": (["ckpt=natural64"], 64),
    "metasiren64": (["method=metasiren"], 64),
    "denoiser64": (["method=supervised"], 64),
    "faces128": (["ckpt=faces128"], 128),
}
TASKS: dict[str, list[str]] = {
    "denoise": ["task=denoise", "task.noise_std=0.0980392"],
    "cs": ["task=cs", "task.ratio=0.25", "task.operator=structured"],
    "cpr": ["task=cpr", "task.ratio=1.0", "task.operator=structured"],
    "inpaint": ["task=inpaint", "task.ratio=0.5"],
}
LINEAR_ONLY = ("denoiser64",)  # its input is the back-projected measurement
COLUMNS = ("prior", "task", "images", "count", "size_px", "psnr_db")


def image_sets(options: argparse.Namespace, size_px: int) -> dict[str, ImageSource]:
    """Return the test images, not turned or mirrored."""
    common: dict[str, Any] = {"split": "test", "size_px": size_px, "flip": False, "seed": 0}
    return {
        "faces": CelebA(options.faces, crop_px=None, **common),
        "patches": NaturalPatches(options.natural, patches_per_image=1, **common),
    }


def mean_psnr_db(prior: str, task: str, images: ImageSource, count: int) -> float:
    """Return the mean PSNR of the first ``count`` images."""
    settings, _ = PRIORS[prior]
    cfg = config.compose("infer", [*settings, *TASKS[task]])
    method, measured = runs.build_method(cfg), config.build(cfg.task)
    values = []
    for index in range(count):
        x = images[SampleKey(0, index)].x[None]
        problem = measured.measure(x, seed=seed_of(0, 0, index))
        x_hat = method.reconstruct([problem])[0].x_hat
        values.append(-10 * torch.log10((x_hat - x).square().mean()).item())
    return sum(values) / len(values)


def main(argv: Sequence[str] | None = None) -> int:
    """Add the missing rows, one at a time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faces", required=True, help="folder of faces in CelebA's layout")
    parser.add_argument("--natural", required=True, help="folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file")
    parser.add_argument("--count", type=int, default=5, help="images of each set")
    parser.add_argument("--priors", nargs="+", choices=PRIORS, default=list(PRIORS))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    if options.out.is_file():
        with options.out.open() as file:
            rows = list(csv.DictReader(file))
    done = {(row["prior"], row["task"], row["images"]) for row in rows}
    for prior in options.priors:
        size_px = PRIORS[prior][1]
        for group, images in image_sets(options, size_px).items():
            for task in TASKS:
                if (prior, task, group) in done or (task == "cpr" and prior in LINEAR_ONLY):
                    continue
                value = mean_psnr_db(prior, task, images, options.count)
                row = (prior, task, group, options.count, size_px, f"{value:.3f}")
                rows.append(dict(zip(COLUMNS, row, strict=True)))
                print(*row, flush=True)
                with options.out.open("w", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows)
    command = "python benchmarks/released_scores.py --faces FACES --natural BSDS500 --priors"
    asked = f"{' '.join(options.priors)} --count {options.count} --out {options.out.name}"
    record(options.out, f"{command} {asked}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
