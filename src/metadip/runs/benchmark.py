"""Fill a table: run every method on every task and image, and report the results."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from metadip import config
from metadip.files import WriteError
from metadip.paths import check_paths
from metadip.runs.cells import OTHER_SETS, Cells, Image, Recipe, images_of, part_of
from metadip.runs.process import prepare_process, threads_of_size
from metadip.types import InverseProblem, UserError

if TYPE_CHECKING:
    from metadip.report.benchmark import Cell, Table

QUICK_IMAGE_PX, QUICK_COUNT = 32, 1


def benchmark(cfg: config.Config) -> None:
    """Run the missing cells; write tables, figures and the report of all finished ones.

    Raises:
        UserError: If settings are invalid, or images cannot be read.
    """
    from metadip.report import prepare_folder, save_provenance

    config.check_settings(cfg)
    sets = _chosen_sets(cfg)
    check_paths("benchmark", cfg)
    prepare_process(cfg)
    if cfg.quick:
        cfg.image_size, cfg.count = QUICK_IMAGE_PX, QUICK_COUNT
    if not cfg.threads and cfg.image_size is not None:
        torch.set_num_threads(threads_of_size(cfg.image_size, available=torch.get_num_threads()))
    out, every = Path(cfg.out), list(images_of(cfg, sets))
    recipes, chosen = _recipes(cfg), _chosen_names(cfg)
    images = part_of(every, None if cfg.part is None else str(cfg.part))
    table = _table(cfg, every)
    prepare_folder(out / "cells")
    save_provenance(out, config_yaml=config.to_yaml(cfg))
    cells = Cells(out, seed=cfg.seed)
    wanted = [
        (recipe, image)
        for image in images
        for recipe in recipes
        if (recipe.task, recipe.method) in chosen and recipe.wants(image)
    ]
    try:
        _run_cells(cells, wanted, progress=cfg.progress)
    finally:  # also after an interruption
        _write(cfg, cells, replace(table, not_run=_reasons(recipes)), recipes, every)


def _run_cells(cells: Cells, wanted: Sequence[tuple[Recipe, Image]], *, progress: bool) -> None:
    """Run the missing cells, all methods on one image before the next image."""
    for recipe, _ in wanted:
        recipe.cfg  # noqa: B018, rejects bad settings before hours of work
    missing = [pair for pair in wanted if not cells.is_done(*pair)]
    for pair in missing:
        cells.forget(*pair)
    if len(missing) < len(wanted):
        print(f"{len(wanted) - len(missing)} of {len(wanted)} cells were finished before and stay")
    made: tuple[Any, Image, InverseProblem] | None = None  # an operator may fill the memory
    with tqdm(missing, unit="cell", disable=None if progress else True) as bar:
        for recipe, image in bar:
            bar.set_description(f"{recipe.method} {recipe.task} {image.name}")
            if recipe.refused is not None:
                continue
            measured = recipe.task, config.plain(recipe.cfg.task)  # a method may set its own
            if made is None or made[0] != measured or made[1] is not image:
                made = None
                made = measured, image, recipe.problem(image)
                cells.show(recipe.task, image, made[2])
            _try(cells, recipe, image, made[2])


def _try(cells: Cells, recipe: Recipe, image: Image, problem: InverseProblem) -> None:
    """Run a cell; leave out a method that cannot do the task, and print why."""
    try:
        cells.run(recipe, image, problem)
    except WriteError:
        raise
    except UserError as error:
        recipe.refused = " ".join(str(error).split())
        tqdm.write(f"{recipe.method} is not run on {recipe.task}: {recipe.refused}")


def _recipes(cfg: config.Config) -> list[Recipe]:
    """Return the recipes that the table runs on each image, task by task."""
    device = _device(str(cfg.device))
    return [
        Recipe(
            method=method,
            task=task,
            settings=_settings(cfg, method, task),
            task_settings=list(cfg.table.tasks[task].settings),
            count=cfg.table.methods[method].get("count"),
            quick=cfg.quick,
            device=device,
            only_sets=cfg.table.methods[method].get("only_sets"),
            only_tasks=cfg.table.methods[method].get("only_tasks"),
        )
        for task in cfg.table.tasks
        for method in cfg.table.methods
    ]


def _settings(cfg: config.Config, method: str, task: str) -> list[str]:
    """Return a method's settings on a task; those for this task come last."""
    row = cfg.table.methods[method]
    return [*row.settings, *row.get("for_task", {}).get(task, ()), f"seed={cfg.seed}"]


def _chosen_names(cfg: config.Config) -> set[tuple[str, str]]:
    """Return the pairs (task, method) to run."""
    methods, tasks = (
        _chosen(what, cfg[what], list(cfg.table[what])) for what in ("methods", "tasks")
    )
    return set(product(tasks, methods))


def _chosen_sets(cfg: config.Config) -> list[str]:
    """Return the image sets to run on."""
    if cfg.sets is not None and (cfg.quick or cfg.images is not None):
        instead = "quick=true" if cfg.images is None else "images="
        raise UserError(f"sets= chooses among the table's image sets, which {instead} replaces")
    return _chosen("sets", cfg.sets, list(cfg.table.sets))


def _chosen(what: str, wanted: Sequence[str] | None, known: list[str]) -> list[str]:
    """Return the requested names, in the order of the table."""
    for name in wanted or ():
        if name not in known:
            hint = config.nearest(str(name), known)
            raise UserError(f"{what}={name} is not in the table{hint} ({', '.join(known)})")
    return [name for name in known if wanted is None or name in wanted]


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device={name} must be auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: there is no CUDA device here; give device=cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _reasons(recipes: Sequence[Recipe]) -> dict[str, str]:
    """Return why methods were left out, each reason once."""
    reasons: dict[str, dict[str, None]] = {}
    for recipe in recipes:
        if recipe.refused is not None:
            reasons.setdefault(recipe.method, {})[recipe.refused] = None
    return {method: "; ".join(told) for method, told in reasons.items()}


def _table(cfg: config.Config, images: Sequence[Image]) -> Table:
    """Describe the table for the report."""
    from metadip.report.benchmark import Table

    table = config.plain(cfg.table)
    labels = {
        what: {name: node["label"] for name, node in table[what].items()}
        for what in ("methods", "tasks", "sets")
    }
    return Table(
        name=cfg.choices.table,
        title=f"{table['title']}{' (quick: few steps, no results)' if cfg.quick else ''}",
        methods=labels["methods"],
        tasks=labels["tasks"],
        sets={image.group: (labels["sets"] | OTHER_SETS)[image.group] for image in images},
        reference=table["reference"],
        published=table["published"],
        notes=_notes(cfg, images),
    )


def _write(
    cfg: config.Config,
    cells: Cells,
    table: Table,
    recipes: Sequence[Recipe],
    images: Sequence[Image],
) -> None:
    """Write the results of the finished cells of these settings, with the paper's claims judged."""
    from metadip.report import log_table
    from metadip.report.benchmark import judge, judged_claims, read_cells, write_benchmark

    out = Path(cfg.out)
    named = {cells.path(r, i).stem: (r, i) for r, i in product(recipes, images)}
    known = [cell for cell in read_cells(out) if cell["id"] in named]
    finished = judge([cell for cell in known if cells.is_done(*named[cell["id"]])], table)
    if finished:
        claims = [] if cfg.quick else config.plain(cfg.table)["claims"]
        judged = judged_claims(claims, table, finished)
        notes = [*table.notes, *_made_on(finished)]
        write_benchmark(out, replace(table, claims=judged, notes=notes), finished)
        if cfg.wandb:
            log_table(out)
        print(f"results: {out / 'table.md'} and {out / 'report.html'}")


def _made_on(cells: Sequence[Cell]) -> list[str]:
    """Return a line for each machine that made cells, with their number."""
    counts = Counter(cell["made_on"] for cell in cells if "made_on" in cell)
    return [f"{n} of {len(cells)} results made on {machine}" for machine, n in counts.items()]


def _notes(cfg: config.Config, images: Sequence[Image]) -> list[str]:
    """Return lines on the images, the settings and the command."""
    groups = Counter(image.group for image in images)
    sizes = dict.fromkeys(f"{image.x.shape[-1]}x{image.x.shape[-2]}" for image in images)
    return [
        f"images: {', '.join(f'{n} of {group}' for group, n in groups.items())}; "
        f"{', '.join(sizes)} px; split {cfg.split}; seed {cfg.seed}",
        f"last command: {shlex.join(sys.argv)}",
    ]
