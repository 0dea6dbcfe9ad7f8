"""The cells of a benchmark: one method on one task and image, run once and kept."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from metadip import config
from metadip.runs.peak_memory import PeakMemory
from metadip.types import InverseProblem, UserError

if TYPE_CHECKING:
    from metadip.methods import Method
    from metadip.types import FitResult

QUICK = {  # upper limits of quick=true
    "steps": 20,
    "iterations": 5,
    "image_steps": 20,
    "first_steps": 5,
    "refine_steps": 20,
    "restarts": 1,
    "cycles": 300,
    "er_cycles": 100,
}
THAT_MATTER = ("method", "callbacks", "task", "fit", "seed")  # settings that a result depends on
OTHER_SETS = {"images": "own images", "sample": "built-in picture"}  # in place of a table's sets
DECIMALS = 4  # of curves, dB


@dataclass(frozen=True, eq=False)
class Image:
    """One ground truth ``x`` (1, C, H, W), number ``index`` of the set ``group``.

    Noise and operator are drawn by ``seed_name``.
    """

    group: str
    index: int
    name: str
    seed_name: str
    x: Tensor

    @property
    def fingerprint(self) -> str:
        """Hash that identifies the image, wherever its file is stored."""
        return hashlib.sha256(self.x.numpy().tobytes()).hexdigest()


@dataclass
class Recipe:
    """One method on one task, with the settings that ``infer.py`` would get.

    Args:
        method, task: their names in the table.
        settings: settings of ``infer.py``, all of which the method must read.
        task_settings: settings of ``infer.py``, of which each method reads its own.
        count: number of images to run on, from the first; None runs on all.
        only_sets, only_tasks: image sets and tasks to run on; None for all.
        quick: whether steps are limited to ``QUICK``.
        refused: why it cannot be run, once known.
    """

    method: str
    task: str
    settings: list[str]
    task_settings: list[str]
    count: int | None
    quick: bool
    device: torch.device
    only_sets: Sequence[str] | None = None
    only_tasks: Sequence[str] | None = None
    refused: str | None = field(default=None, init=False)

    def wants(self, image: Image) -> bool:
        """Return whether to run the method on an image."""
        sets = self.only_sets
        there = sets is None or image.group in sets or image.group in OTHER_SETS
        there = there and (self.only_tasks is None or self.task in self.only_tasks)
        return there and (self.count is None or image.index < self.count)

    @cached_property
    def cfg(self) -> config.Config:
        """The composed configuration."""
        cfg = config.compose("infer", self.settings, shared=self.task_settings)
        if self.quick:
            if cfg.fit.steps is not None:
                cfg.fit.steps = min(cfg.fit.steps, QUICK["steps"])
            for node in (cfg.method, *(cfg.method.get(key) or {} for key in ("denoiser", "first"))):
                for key in QUICK.keys() & node.keys():
                    own = node[key]  # None: the prior's own
                    node[key] = QUICK[key] if own is None else min(own, QUICK[key])
        return cfg

    @cached_property
    def built(self) -> Method:
        """The method, built when first needed."""
        from metadip.runs.inference import build_method

        return build_method(self.cfg).to(self.device)

    @cached_property
    def key(self) -> str:
        """Hash of the settings, the content of the files they name, and the metadip version."""
        from metadip.runs.continuing import fingerprint

        tree = config.plain(self.cfg)
        facts = {name: tree[name] for name in THAT_MATTER}
        facts |= {"exact": True} if tree["exact"] else {}  # null and false leave the fit as it is
        facts |= {"ckpt": fingerprint(self.cfg), "version": version("metadip")}
        named = [v for v in config.leaves(tree["method"]).values() if isinstance(v, str)]
        if files := [Path(value) for value in named if Path(value).is_file()]:
            facts["files"] = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        return _hash(facts)

    def problem(self, image: Image) -> InverseProblem:
        """Measure an image as ``infer.py`` does, drawing by the seed and the image's name."""
        from metadip.data import seed_of_name

        seed = seed_of_name(self.cfg.seed, image.seed_name)
        problem: InverseProblem = config.build(self.cfg.task).measure(
            image.x, seed=seed, name=image.name
        )
        return problem.to(self.device)


class Cells:
    """The folder of finished cells, each a JSON file and a picture.

    Args:
        out: folder of the benchmark.
        seed: seed of all cells.
    """

    def __init__(self, out: Path, *, seed: int) -> None:
        self.folder, self.seed = out / "cells", seed

    def path(self, recipe: Recipe, image: Image) -> Path:
        """Return the file of a cell."""
        parts = (recipe.method, recipe.task, image.group, image.name, self.seed)
        return self.folder / f"{'--'.join(map(str, parts))}.json"

    def is_done(self, recipe: Recipe, image: Image) -> bool:
        """Return whether a cell was finished with the same settings and image."""
        try:
            entry = json.loads(self.path(recipe, image).read_text("utf-8"))
            return bool(entry.get("key") == _cell_key(recipe, image))
        except (OSError, ValueError, UserError):  # a missing prior has no key
            return False

    def forget(self, recipe: Recipe, image: Image) -> None:
        """Remove a cell that was made with other settings, so that no table shows it."""
        self.path(recipe, image).unlink(missing_ok=True)

    def show(self, task: str, image: Image, problem: InverseProblem) -> None:
        """Save the pictures of the truth and the measurement."""
        from metadip.report import measurement_picture, save_image

        save_image(self.folder / "truth" / image.group / f"{image.name}.png", image.x)
        _, measured = measurement_picture(problem)
        if measured is not None:
            folder = self.folder / "measured" / task / image.group
            save_image(folder / f"{image.name}_{self.seed}.png", measured)

    def run(self, recipe: Recipe, image: Image, problem: InverseProblem) -> None:
        """Run a cell and save its result.

        Raises:
            UserError: If the method cannot do the task.
        """
        from metadip.callbacks import OraclePSNR
        from metadip.methods.exact_data import with_exact_data
        from metadip.report import save_image, write_json

        method = recipe.built
        method.check(problem, task=f"task={recipe.cfg.choices.task}")
        with PeakMemory(recipe.device) as memory:
            (result,) = method.reconstruct([problem], hooks=[OraclePSNR()])
            if recipe.cfg.exact:
                result = with_exact_data(problem, result, exact=True, clip=False)
        entry = {
            "method": recipe.method,
            "task": recipe.task,
            "set": image.group,
            "image": image.name,
            "seed": self.seed,
            **_numbers(problem, result),
            "peak_memory_mb": memory.megabytes,
            "made_on": _made_on(recipe.device),
            "key": _cell_key(recipe, image),
        }
        path = self.path(recipe, image)
        save_image(path.with_suffix(".png"), problem.read(result.x_hat))
        write_json(path, entry)


def _numbers(problem: InverseProblem, result: FitResult) -> dict[str, Any]:
    """Return the scores and curves of a result."""
    from metadip.report import entry_of, lpips

    assert problem.x is not None
    entry = entry_of(problem, result)
    curves = {
        name: [round(value, DECIMALS) for value in result.curves[name].tolist()]
        for name in ("psnr_db", "psnr_raw_db")
        if name in result.curves
    }
    del entry["name"]
    return entry | {"lpips": lpips(problem.read(result.x_hat), problem.x), "curves": curves}


def _made_on(device: torch.device) -> str:
    """Describe the machine, device and commit that make a cell."""
    from metadip.report import git_commit, machine

    facts = {**machine(), "device": device.type, "commit": (git_commit() or "none")[:10]}
    return ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)


def _cell_key(recipe: Recipe, image: Image) -> str:
    return _hash({"recipe": recipe.key, "image": image.fingerprint})


def _hash(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _safe(name: str) -> str:
    """Return a name that is safe in a file name."""
    return re.sub(r"[^\w.+-]", "_", name)


def images_of(cfg: config.Config, sets: Sequence[str]) -> Iterator[Image]:
    """Yield the images of these sets of the table, or those that replace them.

    Raises:
        UserError: If a folder is missing or empty, or an image cannot be read.
    """
    from metadip.data import ImageFolder, SampleKey, sample_face

    if cfg.quick and cfg.images is None:
        yield Image("sample", 0, "astronaut", "astronaut", sample_face(cfg.image_size)[None])
        return
    common = {"size_px": cfg.image_size, "flip": False, "seed": cfg.seed}
    sources: dict[str, Any]
    files: list[str] | None = None
    if cfg.images is not None:
        folder = ImageFolder(str(cfg.images), split=None, channels=3, crop_px=None, **common)
        sources, files = {"images": folder}, [path.name for path in folder.paths]
    else:
        sources = {name: config.build(cfg.table.sets[name].images) for name in sets}
    for group, source in sources.items():
        seen: set[str] = set()
        for index in range(min(cfg.count, len(source))):
            image = source[SampleKey(0, index)]
            drawn_by = files[index] if files else image.name  # as infer.py does with a folder
            name = _safe(image.name)
            if name in seen:  # "a b" and "a_b"
                name = f"{name}.{index}"
            seen.add(name)
            yield Image(group, index, name, drawn_by, image.x[None])


def part_of(images: list[Image], part: str | None) -> list[Image]:
    """Return the share of the images named by ``part``, such as 1/3.

    Raises:
        UserError: If ``part`` is not such a share.
    """
    if part is None:
        return images
    found = re.fullmatch(r"(\d+)/(\d+)", part)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError(f"part={part} must be like 1/3, from 1/3 to 3/3")
    return images[int(found[1]) - 1 :: int(found[2])]
