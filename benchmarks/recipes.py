"""Train with several recipes for the same time each, and compare what they learned.

    python benchmarks/recipes.py --images FOLDER_IN_CELEBA_LAYOUT --out results --budget-s 1800
    python benchmarks/recipes.py ... --recipes functional20 functional50 --start faces64

Every recipe is ``experiment=faces64`` with the same seed and the settings below. The budget is
seconds of CPU time in outer steps, forward and backward: the cost of an outer step is measured
first, so that each recipe makes as many outer steps as the budget allows and its cosine ends with
them, regardless of other load on the machine. No guard is used. Validation and startup are not
counted; the number of validations is the same for all. A run that takes longer than three times the
budget plus ten minutes of wall-clock time is ended; the table shows the outer steps made and
planned.

The final weights are compared, all by the same code: the PSNR of fits of the first ``--val``
validation faces. A finished recipe is not run again; an interrupted one resumes from its
``last.ckpt``. ``recipes.csv`` and ``recipes.md`` hold all finished recipes in ``--out``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from metadip import config, load
from metadip.callbacks import OraclePSNR
from metadip.data import CelebA, SampleKey, seed_of
from metadip.report import atomic_path, markdown_table, prepare_folder, write_csv, write_json
from metadip.types import UserError

REPO = Path(__file__).resolve().parents[1]
KEPT = ["learner=functional", "learner.functional.keep_graphs=true"]  # the fastest
REPTILE = ["learner=functional", "learner.functional.reptile=true"]
REPTILE += ["learner.functional.keep_graphs=false"]  # there are no graphs
RECIPES = {
    "learn2learn20": ["learner=learn2learn", "learner.inner_steps=20"],
    "functional20": [*KEPT, "learner.inner_steps=20"],
    "functional50": [*KEPT, "learner.inner_steps=50"],
    "truncated50": [*KEPT, "learner.inner_steps=50", "learner.curriculum.truncate_steps=20"],
    "first_order20": [*KEPT, "learner.inner_steps=20", "learner.first_order=true"],
    "reptile20": [*REPTILE, "learner.inner_steps=20"],
    "per_step20": [*KEPT, "learner.inner_steps=20", "optimizer.per_tensor=false"],
    "last_step20": [*KEPT, "learner.inner_steps=20", "learner.multi_step_weight=0"],
}
REPORTED_STEPS = (5, 10, 20, 50, 100)
EPOCHS = 4  # of every recipe: each ends with a checkpoint, and a validation without consequences
VAL_SIZE = 1  # faces of that validation
CLOCK_FACTOR, CLOCK_EXTRA_S = 3, 600  # a run is ended after this many budgets plus the extra time


def settings_of(recipe: str, options: argparse.Namespace) -> list[str]:
    """Return the settings of ``train.py`` that do not depend on the cost of a step."""
    return [
        "experiment=faces64", f"data.root='{options.images.resolve()}'", *RECIPES[recipe],
        f"image_size={options.size}", f"seed={options.seed}", f"threads={options.threads}",
        f"start={options.start or 'null'}", "trainer.accelerator=cpu",
        "data.loader.num_workers=0", "stability=none", f"data.loader.val_size={VAL_SIZE}",
        *options.set,
    ]  # fmt: skip


def step_seconds(settings: Sequence[str]) -> float:
    """Return the CPU time of one outer step, the median of three after a warm-up."""
    cfg = config.compose("train", settings)
    prior = config.build(cfg.prior, learned=True).drawn(cfg.seed)
    rule = config.build(cfg.optimizer, prior=prior)
    objective, learner, task = (config.build(cfg[n]) for n in ("objective", "learner", "task"))
    x = torch.rand(1, prior.image_channels, cfg.image_size, cfg.image_size)
    problems = [task.measure(x, seed=i) for i in range(cfg.data.loader.batch_size)]
    seconds = []
    for _ in range(4):
        begin = time.process_time()
        learner.outer_loss(prior, rule, objective, problems).loss.backward()
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds[1:])


def plan(recipe: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the plan of a recipe; made once, so that a resumed run has the same schedule."""
    path = options.out / recipe / "plan.json"
    asked = {"settings": settings_of(recipe, options), "budget_s": options.budget_s}
    if path.is_file():
        known: dict[str, Any] = json.loads(path.read_text())
        if any(known[key] != value for key, value in asked.items()):
            raise UserError(f"{path} was made with other settings: choose another --out")
        return known
    cost = step_seconds(asked["settings"])
    epoch_steps = max(1, round(options.budget_s / cost / EPOCHS))
    batch_size = config.compose("train", asked["settings"]).data.loader.batch_size
    made = {
        **asked, "cpu_s_per_step": cost, "outer_steps": EPOCHS * epoch_steps,
        "epoch_tasks": epoch_steps * batch_size,
    }  # fmt: skip
    write_json(path, made)
    return made


def train(recipe: str, todo: dict[str, Any], options: argparse.Namespace) -> Path:
    """Run ``train.py`` unless it has finished; return its last checkpoint."""
    out = options.out / recipe
    last: Path = out / "last.ckpt"
    if not (out / "prior.safetensors").is_file():
        resume = [f"ckpt='{last}'", "start=null"] if last.is_file() else []
        command = [
            sys.executable, str(REPO / "train.py"), *todo["settings"],
            f"trainer.max_steps={todo['outer_steps']}",
            f"data.loader.epoch_size={todo['epoch_tasks']}",
            f"+trainer.max_time={{seconds: {CLOCK_FACTOR * options.budget_s + CLOCK_EXTRA_S}}}",
            "trainer.enable_progress_bar=false", f"out='{out}'", *resume,
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        try:
            subprocess.run(command, check=True, env=environment)
        except subprocess.CalledProcessError as error:
            raise UserError(
                f"recipe {recipe}: train.py ended with code {error.returncode}"
            ) from error
    return last


def evaluate(ckpt: Path, options: argparse.Namespace) -> dict[str, float]:
    """Return the mean PSNR over validation faces at the reported steps."""
    images = CelebA(
        options.images, split="val", crop_px=None, size_px=options.size, flip=False,
        seed=options.seed,
    )  # fmt: skip
    task = config.build(config.compose("train", ["experiment=faces64"]).val_task)
    method = load(str(ckpt), steps=max(REPORTED_STEPS))
    curves = []
    for i in tqdm(range(min(options.val, len(images))), unit="fit", leave=False, disable=None):
        x = images[SampleKey(0, i)].x[None]
        problem = task.measure(x, seed=seed_of(options.seed, 0, i))
        result = method.reconstruct([problem], hooks=[OraclePSNR()])[0]
        curves.append(result.curves["psnr_db"])
    return {
        f"psnr_{k}_db": round(statistics.fmean(float(c[min(k, len(c) - 1)]) for c in curves), 3)
        for k in REPORTED_STEPS
    }


def run(recipe: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one recipe, or read the result of an earlier call."""
    path = options.out / recipe / "result.json"
    todo = plan(recipe, options)
    wanted = {"recipe": recipe, "val_faces": options.val}
    known: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    if all(known.get(key) == value for key, value in wanted.items()):
        return known
    ckpt = train(recipe, todo, options)
    steps = torch.load(ckpt, map_location="cpu", weights_only=True)["global_step"]
    row = {
        **wanted, "outer_steps": steps, "planned_steps": todo["outer_steps"],
        "cpu_s_per_step": round(todo["cpu_s_per_step"], 3), **evaluate(ckpt, options),
    }  # fmt: skip
    write_json(path, row)
    return row


def report(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    """Write and print the table."""
    titles = {
        "recipe": "recipe",
        "outer_steps": "outer steps",
        "planned_steps": "planned",
        "cpu_s_per_step": "s per step",
        **{f"psnr_{k}_db": f"PSNR at {k} (dB)" for k in REPORTED_STEPS},
    }
    formats = {key: ".2f" for key in titles if key.startswith(("psnr", "cpu"))}
    table = markdown_table(rows, titles, formats)
    write_csv(options.out / "recipes.csv", rows)
    with atomic_path(options.out / "recipes.md") as temporary:
        temporary.write_text(table + "\n", encoding="utf-8")
    print(table)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="faces in CelebA's layout")
    parser.add_argument("--out", type=Path, required=True, help="a folder per recipe goes here")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--budget-s", type=int, default=1800, help="processor time of each, s")
    parser.add_argument("--size", type=int, default=64, help="side of the images, px")
    parser.add_argument("--val", type=int, default=20, help="validation faces, the first ones")
    parser.add_argument("--start", help="a prior to begin at; default: random weights")
    parser.add_argument("--seed", type=int, default=0, help="of images, noise, weights")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument("--set", nargs="+", default=[], help="settings of train.py, for all")
    options = parser.parse_args(argv)
    if min(options.budget_s, options.size, options.val, options.threads) < 1:
        parser.error("--budget-s, --size, --val and --threads must be at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing; return the exit code."""
    options = parse(argv)
    torch.set_num_threads(options.threads)
    rows = []
    try:
        prepare_folder(options.out)
        for recipe in options.recipes:
            rows.append(run(recipe, options))
            report(rows, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
