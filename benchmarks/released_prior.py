"""Compare a released prior with vanilla DIP and, for denoising, BM3D on test images.

    python benchmarks/released_prior.py --images FOLDER_IN_CELEBA_LAYOUT --out results
    python benchmarks/released_prior.py --natural PHOTOGRAPHS --tasks denoise --out results

Each method, task and image is saved in a file in ``--out``; a second call with the same settings
skips existing files, so that methods can be run one after another (``--methods``) and shown
together. DIP fits the small network from random weights; its best step is chosen by ground truth.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from metadip import config, runs
from metadip.callbacks import OraclePSNR
from metadip.data import CelebA, ImageSource, NaturalPatches, SampleKey, seed_of
from metadip.demo import build_method, vanilla_dip
from metadip.report import machine, markdown_table, prepare_folder, psnr_db, write_json
from metadip.types import InverseProblem, UserError

METHODS = ("metadip", "dip", "bm3d")
REPORTED_STEPS = (5, 10, 20, 50, 100)
COMPARED_STEP = 50  # the table shows when DIP reaches MetaDIP's PSNR at this step
DIP_STEPS = {"denoise": 600, "cs": 1000, "cpr": 1000}


def images_of(options: argparse.Namespace) -> ImageSource:
    """Return the test images, not turned or mirrored."""
    if options.natural is not None:
        return NaturalPatches(
            options.natural, split="test", size_px=options.size, flip=False, patches_per_image=1,
            seed=options.seed,
        )  # fmt: skip
    return CelebA(
        options.images, split=options.split, crop_px=None, size_px=options.size, flip=False,
        seed=options.seed,
    )  # fmt: skip


def make_problem(task: str, x: Tensor, options: argparse.Namespace, index: int) -> InverseProblem:
    """Measure image ``index``; its operator is kept only as long as the problem."""
    operator = [] if task == "denoise" else [f"task.operator={options.operator}"]
    cfg = config.compose("infer", [f"task={task}", *operator])
    problem: InverseProblem = config.build(cfg.task).measure(
        x[None], seed=seed_of(options.seed, 0, index)
    )
    return problem


def measure(method: str, problem: InverseProblem, task: str, options: argparse.Namespace) -> Any:
    """Return the PSNR by step and the seconds per step; for BM3D, one number."""
    if method == "bm3d":
        return {"psnr_db": [bm3d_psnr(problem)]}
    if method == "dip":
        reconstructor = vanilla_dip(options.dip_steps or DIP_STEPS[task], seed=options.seed)
    else:
        steps = max(REPORTED_STEPS)
        reconstructor = build_method([f"ckpt='{options.ckpt}'", f"method.steps={steps}"])
    result = reconstructor.reconstruct([problem], hooks=[OraclePSNR()])[0]
    names = ("psnr_db", "psnr_raw_db")
    curves = {name: [round(v, 3) for v in result.curves[name].tolist()] for name in names}
    return curves | {"s_per_step": result.seconds / max(result.steps, 1)}


def bm3d_psnr(problem: InverseProblem) -> float:
    """Return the PSNR of BM3D with the known noise level."""
    assert problem.x is not None
    bm3d = runs.build_method(config.compose("infer", ["method=bm3d"]))
    return psnr_db(bm3d.reconstruct([problem])[0].x_hat, problem.x).item()


def settings_of(method: str, task: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that an entry depends on."""
    source = str(options.natural or options.images)
    settings = {"source": source, "size": options.size, "seed": options.seed}
    if task != "denoise":
        settings["operator"] = options.operator
    if method == "dip":
        settings["steps"] = options.dip_steps or DIP_STEPS[task]
    if method == "metadip":
        settings["ckpt"] = options.ckpt
    return settings


def measure_all(options: argparse.Namespace) -> dict[tuple[str, str], dict[int, Any]]:
    """Measure what is missing; return the entries by (task, method) and image."""
    images = images_of(options)
    limits = {"metadip": options.count, "dip": options.dip_count, "bm3d": options.count}
    jobs = [
        (task, index, method)
        for task in options.tasks
        for index in range(min(options.count, len(images)))
        for method in options.methods
        if index < limits[method] and (method != "bm3d" or task == "denoise")
    ]
    entries: dict[tuple[str, str], dict[int, Any]] = {}
    for task, index, method in tqdm(jobs, unit="fit", disable=None):
        path = options.out / f"{task}_{method}_{index:05d}.json"
        settings = settings_of(method, task, options)
        entry = json.loads(path.read_text()) if path.is_file() else {}
        if entry and entry["settings"] != settings:
            raise UserError(f"{path} was made with other settings: choose another --out")
        if not entry:
            problem = make_problem(task, images[SampleKey(0, index)].x, options, index)
            entry = measure(method, problem, task, options) | {"settings": settings}
            write_json(path, entry)
        entries.setdefault((task, method), {})[index] = entry
    return entries


def summarise(task: str, entries: Mapping[tuple[str, str], Mapping[int, Any]]) -> dict[str, Any]:
    """Return the mean, standard deviation and count of every metric of a task."""
    metadip, dip, bm3d = (entries.get((task, method), {}) for method in METHODS)
    numbers: dict[str, list[float]] = {}
    for k in REPORTED_STEPS:
        numbers[f"metadip at {k} (dB)"] = [e["psnr_db"][k] for e in metadip.values()]
    better = {i: better_curve(entry) for i, entry in dip.items()}
    numbers[f"dip at {COMPARED_STEP} (dB)"] = [
        curve[min(COMPARED_STEP, len(curve) - 1)] for curve in better.values()
    ]
    numbers["dip at its best step (dB)"] = [max(curve) for curve in better.values()]
    numbers["dip's best step"] = [curve.index(max(curve)) for curve in better.values()]
    numbers["bm3d (dB)"] = [e["psnr_db"][0] for e in bm3d.values()]
    for name, part in (("metadip", metadip), ("dip", dip)):
        numbers[f"{name} (s per step)"] = [e["s_per_step"] for e in part.values()]
    summary: dict[str, Any] = {
        name: {
            "mean": round(statistics.fmean(values), 4),
            "std": round(statistics.stdev(values), 4) if len(values) > 1 else 0.0,
            "n": len(values),
        }
        for name, values in numbers.items()
        if values
    }
    both = [i for i in better if i in metadip]
    if both:
        targets = {i: metadip[i]["psnr_db"][COMPARED_STEP] for i in both}
        summary[f"dip steps to metadip at {COMPARED_STEP}"] = steps_to_reach(better, targets)
    return summary


def better_curve(entry: Mapping[str, Any]) -> list[float]:
    """Return the better of the averaged output and the single step, at each step."""
    return [max(pair) for pair in zip(entry["psnr_db"], entry["psnr_raw_db"], strict=True)]


def steps_to_reach(
    curves: Mapping[int, Sequence[float]], targets: Mapping[int, float]
) -> dict[str, Any]:
    """Return the median number of steps to reach the targets, and how often they are missed."""
    steps = [
        next((k for k, v in enumerate(curves[i]) if v >= target), math.inf)
        for i, target in targets.items()
    ]
    median = statistics.median(steps)
    return {
        "median": median if math.isfinite(median) else "never",
        "never": sum(math.isinf(k) for k in steps),
        "n": len(steps),
    }


def table_of(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the Markdown table, a row per task and method."""
    rows = []
    for task, summary in summaries.items():
        for key, value in summary.items():
            cell = (
                f"{value['median']} (never: {value['never']})" if "median" in value
                else f"{value['mean']:.3f} ± {value['std']:.3f}"
            )  # fmt: skip
            rows.append({"task": task, "what": key, "value": cell, "n": value["n"]})
    titles = {"task": "task", "what": "what", "value": "mean ± std (steps: median)", "n": "images"}
    return markdown_table(rows, titles, {})


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, help="faces in CelebA's layout")
    source.add_argument("--natural", type=Path, help="photographs, cut into patches")
    parser.add_argument("--split", default="test", help="which faces, by the partition file")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file per image goes here")
    parser.add_argument("--ckpt", default="faces64", help="a released name or a file")
    parser.add_argument("--tasks", nargs="+", choices=DIP_STEPS, default=list(DIP_STEPS))
    parser.add_argument("--size", type=int, default=64, help="side of the images, px")
    parser.add_argument("--count", type=int, default=50, help="images, the first ones in order")
    parser.add_argument("--seed", type=int, default=0, help="of noise, operators, weights")
    parser.add_argument("--operator", default="gaussian", help="of cs and cpr, see conf/task")
    parser.add_argument("--dip-steps", type=int, help="of DIP; default: 600 denoise, 1000 others")
    parser.add_argument("--dip-count", type=int, default=10, help="DIP on the first N images only")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["metadip", "dip"])
    parser.add_argument("--threads", type=int, help="threads of PyTorch; default: its own choice")
    options = parser.parse_args(argv)
    if min(options.size, options.count, options.dip_steps or 1, options.threads or 1) < 1:
        parser.error("--size, --count, --dip-steps and --threads must be at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    options = parse(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    try:
        prepare_folder(options.out)
        entries = measure_all(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: finished images are kept", file=sys.stderr)
        return 130
    summaries = {task: summarise(task, entries) for task in options.tasks}
    print(table_of(summaries))
    facts = {"command": sys.argv, "seed": options.seed, "size": options.size, "machine": machine()}
    seconds = round(time.perf_counter() - begin, 1)
    print(json.dumps({**facts, "seconds": seconds, "results": summaries}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
