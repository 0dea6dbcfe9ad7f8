"""Tune plug-and-play ADMM over a grid of strength, penalty and iterations on validation images.

    python benchmarks/pnp_grid.py --images FACES_IN_CELEBA_LAYOUT --task cs --out grid_cs
    python benchmarks/pnp_grid.py --natural PHOTOGRAPHS --task cpr --denoiser tv --out grid_cpr

Each image and grid point is saved in a file in ``--out``; a second call with the same settings
skips existing files. The point with the best mean PSNR becomes the preset
``conf/pnp/TASK_DENOISER.yaml``, used by ``infer.py method=pnp_admm pnp=TASK_DENOISER``. The 27
points take 630 calls of the denoiser per image. With ``--method refined`` or ``admm_tv`` the grid
is that of this method, whose numbers stand in conf/method or in a table: it is printed, and no
preset is written. The strength of ``admm_tv`` is its ``weight``, of 255 too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from metadip import config
from metadip.data import CelebA, ImageSource, NaturalPatches, SampleKey, seed_of
from metadip.report import atomic_path, markdown_table, prepare_folder, psnr_db, write_json
from metadip.runs import build_method
from metadip.types import UserError

# Our own choice of grid: MetaDIP (arXiv:2209.08452) reports 3 x 3 x 3 but no values.
STRENGTHS = (5.0, 15.0, 30.0)  # of 255
PENALTIES = (0.05, 0.2, 1.0)
ITERATIONS = (10, 20, 40)
TASKS = ("cs", "cpr", "inpaint", "spc", "sr", "deblur", "ct", "mri", "demosaick")
PRESET = """\
# Parameters of method=pnp_admm for task={task} with denoiser={denoiser}: the best
# of {n_points} points, {psnr_db:.2f} dB on the first {n_images} validation images of {size} px
# [benchmarks/pnp_grid.py{settings}].
strength: {strength:.4f}  # final noise level given to the denoiser; the first is 0.5
penalty: {penalty:g}  # rho, weight of the denoised image against the measurement
iterations: {iterations}  # calls of the denoiser
"""


class Point(NamedTuple):
    """A point of the grid; the strength is out of 255."""

    strength: float
    penalty: float
    iterations: int


def images_of(options: argparse.Namespace) -> ImageSource:
    """Return the validation images, not turned or mirrored."""
    if options.natural is not None:
        return NaturalPatches(
            options.natural, split="val", size_px=options.size, flip=False, patches_per_image=1,
            seed=options.seed,
        )  # fmt: skip
    return CelebA(
        options.images, split="val", crop_px=None, size_px=options.size, flip=False,
        seed=options.seed,
    )  # fmt: skip


def settings_of(point: Point, options: argparse.Namespace) -> list[str]:
    """Return the settings of ``infer.py`` that run a point."""
    plug_and_play = options.method == "pnp_admm"
    place = "pnp" if plug_and_play else "method"
    strength = "weight" if options.method == "admm_tv" else "strength"
    return [
        f"method={options.method}", *([f"denoiser={options.denoiser}"] if plug_and_play else []),
        f"task={options.task}", f"{place}.{strength}={point.strength / 255}",
        f"{place}.penalty={point.penalty}", f"{place}.iterations={point.iterations}",
        *options.settings,
    ]  # fmt: skip


def measure_all(points: Sequence[Point], options: argparse.Namespace) -> dict[Point, list[float]]:
    """Measure what is missing; return the PSNR of each image by point."""
    images, found = images_of(options), dict[Point, list[float]]()
    jobs = list(product(range(min(options.count, len(images))), points))
    for index, point in tqdm(jobs, unit="run", disable=None):
        name = f"{index:05d}_{point.strength:g}_{point.penalty:g}_{point.iterations}"
        path = options.out / f"{name}.json"
        source = str(options.natural or options.images)
        settings = {"source": source, "size": options.size, "seed": options.seed,
                    "infer": settings_of(point, options)}  # fmt: skip
        entry = json.loads(path.read_text()) if path.is_file() else {}
        if entry and entry["settings"] != settings:
            raise UserError(f"{path} was made with other settings: choose another --out")
        if not entry:
            cfg = config.compose("infer", settings["infer"])
            x = images[SampleKey(0, index)].x[None]
            seed = seed_of(options.seed, 0, index)
            problem = config.build(cfg.task).measure(x, seed=seed)
            result = build_method(cfg).reconstruct([problem])[0]
            assert problem.x is not None
            psnr = psnr_db(problem.read(result.x_hat), problem.x).item()
            entry = {"psnr_db": psnr, "seconds": result.seconds, "settings": settings}
            write_json(path, entry)
        found.setdefault(point, []).append(entry["psnr_db"])
    return found


def table_of(means: Mapping[Point, float]) -> str:
    """Return the Markdown table of the grid, a row per strength and penalty."""
    rows: dict[tuple[float, float], dict[str, Any]] = {}
    for (strength, penalty, iterations), mean in means.items():
        row = rows.setdefault((strength, penalty), {"strength": strength, "penalty": penalty})
        row[str(iterations)] = mean
    counts = sorted({point.iterations for point in means})
    titles = {"strength": "strength / 255", "penalty": "penalty"}
    titles |= {str(n): f"{n} iterations (dB)" for n in counts}
    formats = {"strength": "g", "penalty": "g", **{str(n): ".2f" for n in counts}}
    return markdown_table(list(rows.values()), titles, formats)


def write_preset(
    means: Mapping[Point, float], options: argparse.Namespace, *, n_images: int
) -> Path:
    """Write the best point as a preset."""
    best = max(means, key=lambda point: means[point])
    name = f"{options.task}_{options.denoiser}.yaml"
    path: Path = options.preset or config.conf_dir() / "pnp" / name
    values = {**best._asdict(), "strength": best.strength / 255, "psnr_db": means[best]}
    text = PRESET.format(
        task=options.task, denoiser=options.denoiser, size=options.size, n_points=len(means),
        n_images=n_images, settings="".join(f" {s}" for s in options.settings), **values,
    )  # fmt: skip
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, help="faces in CelebA's layout")
    source.add_argument("--natural", type=Path, help="photographs, cut into patches")
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--method", default="pnp_admm", choices=("pnp_admm", "refined", "admm_tv"))
    parser.add_argument("--denoiser", default="bm3d", help="a file of conf/denoiser")
    parser.add_argument("--settings", nargs="+", default=[], help="others, as task.ratio=0.1")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file per run goes here")
    parser.add_argument("--preset", type=Path, help="default: conf/pnp/TASK_DENOISER.yaml")
    parser.add_argument("--size", type=int, default=64, help="side of the images, px")
    parser.add_argument("--count", type=int, default=4, help="images, the first ones in order")
    parser.add_argument("--seed", type=int, default=0, help="of noise and operators")
    parser.add_argument("--strengths", nargs="+", type=float, default=STRENGTHS, help="of 255")
    parser.add_argument("--penalties", nargs="+", type=float, default=PENALTIES)
    parser.add_argument("--iterations", nargs="+", type=int, default=ITERATIONS)
    options = parser.parse_args(argv)
    if min(options.size, options.count) < 1:
        parser.error("--size and --count must be at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit code."""
    options = parse(argv)
    grid = product(options.strengths, options.penalties, options.iterations)
    try:
        prepare_folder(options.out)
        found = measure_all([Point(*values) for values in grid], options)
        means = {point: statistics.fmean(values) for point, values in found.items()}
        n_images = min(map(len, found.values()))
        print(table_of(means))
        if options.method == "pnp_admm":
            print(f"preset: {write_preset(means, options, n_images=n_images)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: finished runs are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
