"""A folder shared among processes: when, with how many threads, and what becomes of failures."""

import logging
import os
import pickle
import random
import signal
import subprocess
import time
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from metadip import config
from metadip.report import save_image
from metadip.runs import inference, sharing
from metadip.types import UserError
from tests.processes import TIMEOUT_S, launched, wait_for
from tests.runs.test_continuing import fill, n_finished
from tests.tiny import INFER, infer, replaced, save_tiny_prior

CPU = ["trainer.accelerator=cpu", "input=photos", "out=out"]


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_prior(tmp_path_factory.mktemp("prior") / "prior.safetensors")


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ([], 6),
        (["threads=4"], 1),
        (["trainer.devices=3"], 3),
        (["trainer.devices=2", "threads=1"], 2),
    ],
)
def test_places(settings: list[str], count: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert sharing.places_of(config.compose("infer", [*CPU, *settings])) == [1] * count


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_only_long_work_is_shared(seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The first image tells how long the others will take."""
    for i in range(5):
        save_image(tmp_path / "photos" / f"{i}.png", torch.rand(1, 3, 8, 8))
    shares: list[list[int]] = []

    def run_here(work: Any, given: Any, *, watch: Any) -> None:
        for share in given:
            shares.append(list(share[3]))
            work(*pickle.loads(pickle.dumps(share)))
            watch()

    monkeypatch.setattr(sharing, "places_of", lambda _: [1, 1, 1])
    monkeypatch.setattr(sharing, "run_processes", run_here)
    monkeypatch.setattr(inference, "SHARED_S", seconds)
    prior = save_tiny_prior(tmp_path / "prior.safetensors")
    arguments = [f"ckpt={prior}", f"input={tmp_path / 'photos'}", f"out={tmp_path / 'out'}"]
    metrics = infer(*arguments)
    assert [entry["name"] for entry in metrics["images"]] == ["0", "1", "2", "3", "4"]
    assert shares == ([[1, 4], [2], [3]] if seconds == 0 else [])


def say(folder: str, index: int) -> None:
    """Log what all say, and a line of its own; tell the number of threads."""
    logging.getLogger("metadip.tests").warning("common")
    logging.getLogger("metadip.tests").info("own %d", index)
    Path(folder, f"{index}").write_text(str(torch.get_num_threads()))


def fail(folder: str, index: int) -> None:
    """Fail as the first, wait for long as another."""
    if index:
        time.sleep(600)
    raise UserError(f"image {index} is damaged")


def test_a_process_tells_what_it_logs_and_why_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(sharing, "_end_with_starter", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    logger = logging.getLogger("metadip")
    monkeypatch.setattr(logger, "handlers", [])
    ours, theirs = Pipe()
    for work, share in ((say, (str(tmp_path), 0)), (fail, ("", 0))):
        ours.send_bytes(pickle.dumps((work, share)))
    sharing._run(1, theirs)
    with pytest.raises(SystemExit):
        sharing._run(1, theirs)
    logger.handlers.clear()
    caplog.clear()
    told = {"common"}
    with caplog.at_level(logging.INFO, "metadip"):
        for _ in ("ready", "common", "own 0", "ready"):
            assert sharing._listen(ours, told, b"share")
        with pytest.raises(UserError, match=r"^image 0 is damaged$"):
            sharing._listen(ours, told, b"share")
        assert [theirs.recv_bytes() for _ in range(2)] == [b"share"] * 2
        theirs.close()
        assert not sharing._listen(ours, told, b"share")
    assert [record.getMessage() for record in caplog.records] == ["own 0"]  # the other was known


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (-signal.SIGKILL, UserError, r"ended by SIGKILL: .*\(trainer\.devices=1\)"),
        (1, RuntimeError, "a process of this run failed, see above"),
    ],
)
def test_a_process_that_ends_badly(code: int, error: type[Exception], text: str):
    process: Any = SimpleNamespace(exitcode=code, join=lambda: None)
    with pytest.raises(error, match=text):
        sharing._check_end(process)


@pytest.mark.slow  # five processes that import much
def test_real_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    looks: list[int] = []
    shares = [(str(tmp_path), index) for index in range(3)]
    sharing.run_processes(say, shares, watch=lambda: looks.append(1))
    assert [(tmp_path / f"{index}").read_text() for index in range(3)] == ["2", "2", "2"]
    assert looks
    with pytest.raises(UserError, match=r"^image 0 is damaged$"):
        sharing.run_processes(fail, shares[:2], watch=lambda: None)
    assert os.waitpid(-1, os.WNOHANG) == (0, 0)  # none is left but the tracker of resources


def lives(process: int) -> bool:
    """Return whether any process of a group is left, but those that wait to be reaped."""
    states = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            states += [state] if int(group) == process else []
    return any(state != "Z" for state in states)


def wait_for_end(process: subprocess.Popen[bytes]) -> None:
    """Wait until nothing of a script is left."""
    process.wait(TIMEOUT_S)
    end = time.monotonic() + TIMEOUT_S
    while lives(process.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not lives(process.pid)


@pytest.fixture
def shared(prior: Path, tmp_path: Path) -> list[str]:
    """Return a folder of images shared between two processes."""
    photos, out = fill(tmp_path / "photos", 60), tmp_path / "out"
    arguments = [f"ckpt={prior}", f"input={photos}", f"out={out}", "trainer.devices=2"]
    return replaced(INFER, arguments)


needs_linux = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads /proc")


@needs_linux
@pytest.mark.slow  # two processes that import everything
def test_the_second_process_ends_with_the_first(shared: list[str], tmp_path: Path, repo: Path):
    out = tmp_path / "out"
    with launched("infer", shared, repo) as process:
        wait_for(lambda: n_finished(out) >= 4, process)
        os.kill(process.pid, signal.SIGKILL)
        wait_for_end(process)
    assert n_finished(out) < 60


@needs_linux
@pytest.mark.slow  # three processes that import everything
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_end_together_when_asked_to(
    number: signal.Signals, shared: list[str], tmp_path: Path, repo: Path
):
    """Ctrl-C reaches all processes of a terminal, another signal only the first."""
    out = tmp_path / "out"
    with launched("infer", shared, repo) as process:
        wait_for(lambda: n_finished(out) >= 4, process)
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        wait_for_end(process)
        assert process.returncode == 128 + number
    assert 4 <= n_finished(out) < 60
    assert not (out / "metrics.json").exists()


@needs_linux
@pytest.mark.slow  # three processes that import much
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_that_still_import_end_without_a_word(
    number: signal.Signals, whole: bool, shared: list[str], tmp_path: Path, repo: Path
):
    told = tmp_path / "told"
    with told.open("w") as errors, launched("infer", shared, repo, errors=errors) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_for(lambda: len(children.read_text().split()) >= 3, process)  # one is the tracker
        time.sleep(random.random())
        (os.killpg if whole else os.kill)(process.pid, number)
        wait_for_end(process)
    assert process.returncode == 128 + number
    assert told.read_text() == f"stopped by {number.name}: what was finished is kept\n"
