"""Compare the rules that continue a fit beyond the learned steps, on validation images.

    python benchmarks/beyond.py --images FOLDER_IN_CELEBA_LAYOUT --out results
    python benchmarks/beyond.py --images FOLDER --out results --rules hold adam --count 20
    python benchmarks/beyond.py --natural FOLDER --out results --rules adam --adam-lr 1e-4 1e-3

Rule "adam" uses the prior's own step size, or each of ``--adam-lr``. For each rule, task and image,
the PSNR after every step is saved in a file in ``--out``; a second call with the same settings
skips existing files. The table shows the mean PSNR after some numbers of steps; "loss" is the
largest drop of the mean from one of the marked numbers of steps to a later one, "worst dip" the
largest drop of a single image below what it had reached, at any step.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from result_records import record
from tqdm import tqdm

from metadip import config, load
from metadip.callbacks import OraclePSNR
from metadip.data import CelebA, NaturalPatches, SampleKey, seed_of
from metadip.fitting.momentum_sgd import BEYOND
from metadip.report import markdown_table, prepare_folder, write_csv, write_json
from metadip.types import InverseProblem, UserError

TASKS = ("denoise", "cs", "cpr")
REPORTED_STEPS = (10, 20, 30, 50, 100, 200)
MARKED_STEPS = (20, 50, 100, 200)  # more steps must not be worse

Curve = list[float]
Curves = dict[tuple[str, str], list[Curve]]


def make_problem(
    images: CelebA | NaturalPatches, task: str, index: int, options: argparse.Namespace
) -> Any:
    """Measure image ``index``."""
    operator = [] if task == "denoise" else [f"task.operator={options.operator}"]
    cfg = config.compose("infer", [f"task={task}", *operator])
    x = images[SampleKey(0, index)].x[None]
    return config.build(cfg.task).measure(x, seed=seed_of(options.seed, 0, index))


def images_of(options: argparse.Namespace) -> CelebA | NaturalPatches:
    """Return the images to reconstruct."""
    kind = {"split": options.split, "size_px": options.size, "flip": False, "seed": options.seed}
    if options.natural is not None:
        return NaturalPatches(options.natural, patches_per_image=1, **kind)
    return CelebA(options.images, crop_px=None, **kind)


def measure(rule: str, problem: InverseProblem, options: argparse.Namespace) -> Curve:
    """Return the PSNR after 0, 1, ... steps."""
    name, _, adam_lr = rule.partition("_")
    lr = float(adam_lr) if adam_lr else None
    method = load(options.ckpt, steps=options.steps, beyond=name, adam_lr=lr)
    result = method.reconstruct([problem], hooks=[OraclePSNR()])[0]
    return [round(value, 3) for value in result.curves["psnr_db"].tolist()]


def variants(rule: str, options: argparse.Namespace) -> list[str]:
    """Return the rule, or "adam" once per step size asked for."""
    if rule == "adam" and options.adam_lr:
        return list(dict.fromkeys(f"adam_{lr:g}" for lr in options.adam_lr))
    return [rule]


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of an entry besides rule, task and image."""
    names = ("split", "ckpt", "size", "steps", "operator", "seed")
    source = str(options.natural or options.images)
    return {"images": source} | {name: getattr(options, name) for name in names}


def measure_all(options: argparse.Namespace) -> Curves:
    """Measure what is missing; return the curves of every (task, rule)."""
    images = images_of(options)
    count, settings = min(options.count, len(images)), settings_of(options)
    rules = [rule for name in options.rules for rule in variants(name, options)]
    jobs = [(i, task, rule) for i in range(count) for task in options.tasks for rule in rules]
    curves: Curves = {}
    for index, task, rule in tqdm(jobs, unit="fit", disable=None):
        path = options.out / f"{task}_{rule}_{index:05d}.json"
        entry = json.loads(path.read_text()) if path.is_file() else {}
        if entry and entry["settings"] != settings:
            raise UserError(f"{path} was made with other settings: choose another --out")
        if not entry:
            problem = make_problem(images, task, index, options)
            entry = {"psnr_db": measure(rule, problem, options), "settings": settings}
            write_json(path, entry)
        curves.setdefault((task, rule), []).append(entry["psnr_db"])
    return curves


def largest_fall(curve: Sequence[float]) -> float:
    """Return the largest drop from a value to a later one, 0 if they only rise."""
    best, fall = -math.inf, 0.0
    for value in curve:
        best = max(best, value)
        fall = max(fall, best - value)
    return fall


def rows_of(curves: Curves) -> list[dict[str, Any]]:
    """Return a row per task and rule, in the order of the tasks."""
    rows = []
    for (task, rule), images in curves.items():
        mean = [statistics.fmean(values) for values in zip(*images, strict=True)]
        marked = [mean[k] for k in MARKED_STEPS if k < len(mean)]
        falls = {
            "loss": largest_fall(marked),
            "dip": max(largest_fall(curve[MARKED_STEPS[0] :]) for curve in images),
        }
        at_steps = {str(k): mean[k] for k in REPORTED_STEPS if k < len(mean)}
        rows.append({"task": task, "rule": rule, **at_steps, **falls, "fits": len(images)})
    return sorted(rows, key=lambda row: TASKS.index(row["task"]))


def write(path: Path, rows: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    """Write the rows as a CSV with its record."""
    named = [
        {"task": row["task"], "rule": row["rule"], "count": row["fits"]}
        | {f"psnr_{key}_db": value for key, value in row.items() if key.isdigit()}
        | {"worst_fall_db": row["dip"]}
        for row in rows
    ]
    write_csv(path, named)
    words = ["--images", "FACES"] if options.natural is None else ["--natural", "BSDS500"]
    for name in ("split", "ckpt", "size", "tasks", "rules", "adam_lr", "count", "steps"):
        value = getattr(options, name)
        if value is not None:
            listed = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, listed)]
    record(path, " ".join(["python", "benchmarks/beyond.py", *words]))


def over_tasks(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per rule: the mean PSNR over tasks, and the largest of the drops."""
    lines = []
    for rule in dict.fromkeys(row["rule"] for row in rows):
        parts = [row for row in rows if row["rule"] == rule]
        steps = [key for key in parts[0] if key.isdigit()]
        means = {k: statistics.fmean(part[k] for part in parts) for k in steps}
        falls = {k: max(part[k] for part in parts) for k in ("loss", "dip")}
        fits = sum(part["fits"] for part in parts)
        lines.append({"task": "all", "rule": rule, **means, **falls, "fits": fits})
    return lines


def table_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the Markdown table."""
    steps = [key for key in rows[0] if key.isdigit()]
    titles = {
        "task": "task", "rule": "rule", **{k: f"{k} (dB)" for k in steps}, "loss": "loss (dB)",
        "dip": "worst dip (dB)", "fits": "fits",
    }  # fmt: skip
    return markdown_table(rows, titles, dict.fromkeys([*steps, "loss", "dip"], ".2f"))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, help="faces in CelebA's layout")
    source.add_argument("--natural", type=Path, help="photographs, cut into patches")
    parser.add_argument("--split", default="val", help="which of them")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file per fit goes here")
    parser.add_argument("--csv", type=Path, help="the table as a CSV, with its record")
    parser.add_argument("--ckpt", default="faces64", help="a released name or a file")
    parser.add_argument("--rules", nargs="+", choices=BEYOND, default=list(BEYOND))
    parser.add_argument("--adam-lr", nargs="+", type=float, help="step sizes of adam to compare")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--size", type=int, default=64, help="side of the images, px")
    parser.add_argument("--count", type=int, default=4, help="images, the first ones in order")
    parser.add_argument("--steps", type=int, default=max(REPORTED_STEPS), help="of every fit")
    parser.add_argument("--operator", default="structured", help="of cs and cpr, see conf/task")
    parser.add_argument("--seed", type=int, default=0, help="of noise and operators")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; default: its own choice")
    options = parser.parse_args(argv)
    if min(options.size, options.count, options.steps, options.threads or 1) < 1:
        parser.error("--size, --count, --steps and --threads must be at least 1")
    if options.adam_lr and "adam" not in options.rules:
        parser.error("--adam-lr has no use without adam among --rules")
    if not all(0 < lr < math.inf for lr in options.adam_lr or ()):
        parser.error("--adam-lr must be above 0")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    options = parse(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        prepare_folder(options.out)
        rows = rows_of(measure_all(options))
        if options.csv:
            write(options.csv, rows, options)
        rows += over_tasks(rows)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: finished fits are kept", file=sys.stderr)
        return 130
    print(table_of(rows))
    print(json.dumps({"command": sys.argv, "settings": settings_of(options), "results": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
