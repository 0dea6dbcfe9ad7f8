"""A training and a prior small enough for tests, and how the scripts are called."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

import infer as infer_script
from metadip import command_line, config
from metadip.checkpoint import save_prior

REPO = Path(__file__).resolve().parents[1]
COMMON = ["trainer.accelerator=cpu", "threads=1"]
TRAIN = [
    "data=sample",
    "image_size=32",
    "prior.network.channels=[8,8]",
    "prior.network.skip_channels=[4,4]",
    "learner.inner_steps=2",
    "learner.multi_step_from=1",
    "val_steps=[0,2]",
    "data.loader.epoch_size=2",
    "data.loader.val_size=1",
    "trainer.max_steps=2",
    *COMMON,
]
INFER = ["task=denoise", "task.noise_std=0.098", "fit.steps=2", "seed=0", *COMMON]


def save_tiny_prior(path: Path) -> Path:
    """Save the prior of ``TRAIN`` before its first step, in the released form."""
    cfg = config.compose("train", TRAIN)
    prior = config.build(cfg.prior, learned=True).drawn(cfg.seed)
    objective = config.build(cfg.objective)
    optimizer = config.build(cfg.optimizer, prior=prior)
    description = {
        "representation": prior.description,
        "optimizer": optimizer.description,
        "objective": objective.description,
        "image_px": cfg.prior.latent.size_px,
    }
    parts = nn.ModuleDict({"prior": prior, "inner_optimizer": optimizer})
    save_prior(path, parts.state_dict(), description)
    return path


def replaced(arguments: Sequence[str], changes: Sequence[str]) -> list[str]:
    """Return the arguments with those of the same names replaced."""
    keys = {change.partition("=")[0] for change in changes}
    return [a for a in arguments if a.partition("=")[0] not in keys] + list(changes)


def infer(*arguments: object) -> dict[str, Any]:
    """Run infer.py in this process, with ``INFER`` before the arguments; return metrics.json."""
    words = replaced(INFER, list(map(str, arguments)))
    assert command_line.main("infer", infer_script.run, words) == 0
    out = next(word.removeprefix("out=") for word in words if word.startswith("out="))
    return read_metrics(Path(out))


def read_metrics(out: Path) -> dict[str, Any]:
    """Return the metrics.json of a run folder."""
    content: dict[str, Any] = json.loads((out / "metrics.json").read_text("utf-8"))
    return content


def run_script(
    name: str, arguments: Sequence[object], env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``python NAME ARGUMENTS`` as a user would, with one thread."""
    command = [sys.executable, str(REPO / name), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=REPO)
