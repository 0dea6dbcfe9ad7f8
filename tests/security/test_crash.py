"""Scripts that are killed at random moments lose nothing that was finished, and go on."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.processes import TIMEOUT_S, launched
from tests.runs.test_benchmark import words
from tests.runs.test_continuing import fill
from tests.security.tally import Tally
from tests.tiny import INFER, TRAIN, replaced, save_tiny_prior

KILLS = 4  # of each script, with SIGKILL and SIGTERM in turn
SEED = 18
Kept = dict[str, int]


def entries_in(folder: Path) -> Kept:
    """Return the finished entries, each of which can be read, and when they were written."""
    found = {}
    for file in folder.glob("[!.]*.json"):
        json.loads(file.read_text("utf-8"))
        found[file.name] = file.stat().st_mtime_ns
    return found


def step_in(folder: Path) -> Kept:
    """Return the outer step of the last checkpoint, which can be read."""
    if not (folder / "last.ckpt").is_file():
        return {}
    return {"step": torch.load(folder / "last.ckpt", weights_only=True)["global_step"]}


def crash(
    name: str, arguments: list[str], repo: Path, finished: Callable[[], Kept], whole: int
) -> None:
    """Kill a script at random moments after something more was finished; then let it end.

    Of entries, the times stay; of a training, the step only grows.
    """
    tally, rng, kept = Tally.of(f"crashes of {name}"), random.Random(SEED), Kept()
    for number in range(KILLS):
        sent, end = (signal.SIGKILL, signal.SIGTERM)[number % 2], time.monotonic() + TIMEOUT_S
        with launched(name, arguments, repo) as process:
            while finished() == kept and process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(rng.random() / 2)
            with suppress(ProcessLookupError):  # it had ended
                os.killpg(process.pid, sent)
            code = process.wait(TIMEOUT_S)
        tally.tried += 1
        if code not in (0, -signal.SIGKILL, 143):
            tally.lose(f"{name} {number}: exit {code} after {sent.name}")
        now = finished()
        if any(now.get(key, -1) < kept[key] for key in kept):
            tally.lose(f"{name} {number}: of {kept} there is {now}")
        tally.accepted += 1
        kept = now
    with launched(name, arguments, repo) as process:
        assert process.wait(TIMEOUT_S) == 0
    now = finished()
    assert max(len(now), now.get("step", 0)) == whole
    if any(now[key] < kept[key] for key in kept):
        tally.lose(f"{name}: of {kept} there is {now}")
    tally.check()


@pytest.mark.slow
def test_infer(tmp_path: Path, repo: Path):
    prior, out = save_tiny_prior(tmp_path / "prior.safetensors"), tmp_path / "out"
    photos = fill(tmp_path / "photos", 60)
    arguments = replaced(INFER, [f"ckpt={prior}", f"input={photos}", f"out={out}"])
    crash("infer", arguments, repo, lambda: entries_in(out / "entries"), 60)


@pytest.mark.slow
def test_benchmark(tmp_path: Path, repo: Path):
    arguments = words(fill(tmp_path / "photos", 20), tmp_path / "out", "count=20")
    crash("benchmark", arguments, repo, lambda: entries_in(tmp_path / "out" / "cells"), 40)


@pytest.mark.slow
def test_train(tmp_path: Path, repo: Path):
    more = ["trainer.max_steps=40", "trainer.enable_progress_bar=false", "checkpoint_minutes=0"]
    arguments = replaced(TRAIN, [*more, f"out={tmp_path / 'out'}", "ckpt=auto"])
    crash("train", arguments, repo, lambda: step_in(tmp_path / "out"), 40)
