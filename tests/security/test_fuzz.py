"""Files and command lines at random from a fixed seed: refused in one line or accepted."""

import contextlib
import io
import itertools
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from metadip import command_line
from metadip.__main__ import COMMANDS
from metadip.checkpoint import LearnedPrior, load_prior
from metadip.config import Config, build, compose
from metadip.data import read_image
from metadip.tasks import load_measurement
from metadip.types import InverseProblem
from tests.security.files import KINDS, Good
from tests.security.lines import LINES, good_line, random_line
from tests.security.tally import Tally

SEED = 18
SHORT, LONG = 25, 1250  # files of each kind


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    return Good(tmp_path_factory.mktemp("attack"))


def is_sound(result: Any) -> bool:
    """Return whether the numbers of a prior, a problem or an image may be used."""
    if isinstance(result, LearnedPrior):
        weights = result.prior.state_dict().values()
        return all(bool(w.isfinite().all()) for w in weights if w.is_floating_point())
    if isinstance(result, InverseProblem):
        return bool(result.y.isfinite().all())
    return 0 <= float(result.min()) <= float(result.max()) <= 1


def attack_files(kind: str, good: Good, count: int) -> Tally:
    """Try files of a kind, the first ``count`` of an endless series."""
    tally, tasks = Tally.of(kind), dict[str, Any]()
    for task in good.measurements:
        quiet = [] if task == "denoise" else ["task.noise_std=0"]
        tasks[task] = build(compose("infer", [f"task={task}", *quiet]).task)
    for number in range(count):
        made = KINDS[kind](good, random.Random(f"{SEED} {kind} {number}"))
        what = f"{kind} {number}"
        if kind == "measurements":
            task, path = made
            load: Callable[[], Any] = partial(load_measurement, path, tasks[task])
        elif kind == "images":
            load = partial(read_image, made)
        else:
            load = partial(load_prior, made)
        result = tally.attack(what, load, executed=good.executed)
        if result is not None and not is_sound(result):
            tally.lose(f"{what}: values that are not finite, or out of range, got through")
    return tally


@pytest.mark.parametrize("kind", KINDS)
def test_some_damaged_files(kind: str, good: Good):
    tally = attack_files(kind, good, SHORT)
    tally.check()
    assert tally.refused > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_damaged_files(kind: str, good: Good):
    attack_files(kind, good, LONG).check()


def try_line(name: str, words: list[str], tally: Tally, *, check_only: bool) -> None:
    """Run a command line in this process; with ``check_only``, nothing after the checks."""

    def stop(cfg: Config) -> None:
        torch.manual_seed(0)

    errors, output = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
        try:
            code = command_line.main(name, stop if check_only else COMMANDS[name], words)
        except Exception as error:
            code = 1
            errors.write(f"{type(error).__name__}: {error}")
    tally.line([name, *words], code, errors.getvalue())


def test_some_bad_lines(tmp_path: Path):
    tally = Tally.of("command lines")
    for name, changes in LINES[::9]:
        try_line(name, good_line(name, changes, tmp_path), tally, check_only=True)
    tally.check()
    assert tally.refused > tally.accepted
    assert [path.name for path in tmp_path.iterdir()] == ["image.png"]


@pytest.mark.slow
def test_hundreds_of_bad_lines(tmp_path: Path):
    tally = Tally.of("command lines")
    for name, changes in LINES:
        try_line(name, good_line(name, changes, tmp_path), tally, check_only=False)
    rng = random.Random(SEED)
    for name, _ in zip(itertools.cycle(COMMANDS), range(200), strict=False):
        words = good_line(name, random_line(name, rng), tmp_path)
        try_line(name, words, tally, check_only=True)
    tally.check()
    assert tally.tried >= 300
