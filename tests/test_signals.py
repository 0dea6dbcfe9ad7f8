"""SIGTERM and Ctrl-C end every script in one line, with 143 and 130, and keep what is done."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import benchmark as benchmark_script
import infer as infer_script
import train as train_script
from metadip import command_line
from metadip.callbacks import OraclePSNR
from metadip.signals import STOPPING, Stopped, signals_wait
from metadip.types import FitState
from tests.runs.test_benchmark import cells, words
from tests.runs.test_continuing import fill, times
from tests.tiny import INFER, TRAIN, replaced, save_tiny_prior

LINE = "stopped by {}: what was finished is kept\n"


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_prior(tmp_path_factory.mktemp("prior") / "prior.safetensors")


@pytest.fixture
def at_fit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Return a function that has the n-th fit send this process a signal."""

    def send(number: int, nth: int) -> None:
        fits, as_it_was = 0, OraclePSNR.on_reconstruction_start

        def start(self: OraclePSNR, state: FitState) -> None:
            nonlocal fits
            fits += 1
            if fits == nth:
                os.kill(os.getpid(), number)
            as_it_was(self, state)

        monkeypatch.setattr(OraclePSNR, "on_reconstruction_start", start)

    return send


@pytest.mark.parametrize("number", STOPPING)
def test_a_folder_keeps_what_is_done_and_goes_on(
    number: signal.Signals,
    at_fit: Callable[[int, int], None],
    prior: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    out = tmp_path / "out"
    arguments = [f"ckpt={prior}", f"input={fill(tmp_path / 'photos', 3)}", f"out={out}"]
    call = replaced(INFER, [*arguments, "trust=false"])
    before = [signal.getsignal(n) for n in STOPPING]
    at_fit(number, 2)
    assert command_line.main("infer", infer_script.run, call) == 128 + number
    assert capsys.readouterr().err == LINE.format(number.name)
    assert [signal.getsignal(n) for n in STOPPING] == before
    assert os.listdir(out / "entries") == ["000.json"]
    assert not list(out.rglob(".*"))
    kept = times(out)
    monkeypatch.undo()
    assert command_line.main("infer", infer_script.run, call) == 0
    assert kept.items() < times(out).items()


@pytest.mark.parametrize("number", STOPPING)
def test_a_table_keeps_its_cells(
    number: signal.Signals,
    at_fit: Callable[[int, int], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    photos = fill(tmp_path / "photos", 2)
    at_fit(number, 2)
    arguments = words(photos, tmp_path / "out", "methods=[dip]")
    assert command_line.main("benchmark", benchmark_script.run, arguments) == 128 + number
    assert capsys.readouterr().err == LINE.format(number.name)
    assert len(cells(tmp_path / "out")) == 1
    assert (tmp_path / "out" / "table.md").is_file()


def test_before_the_first_step_of_training_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    out = tmp_path / "out"
    assert command_line.main("train", train_script.run, [*TRAIN, f"out={out}"]) == 143
    assert capsys.readouterr().err == LINE.format("SIGTERM")
    assert not out.exists()


def test_one_of_several_processes_ends_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("LOCAL_RANK", "1")

    def stop(_: object) -> None:
        raise Stopped(signal.SIGTERM)

    call = ["data=sample", "seed=0"]
    assert command_line.main("train", stop, call) == 0
    assert capsys.readouterr().err == ""


def test_no_handler_of_exceptions_stands_in_the_way():
    def run(_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except Exception:
            pytest.fail("taken for an error")

    assert command_line.main("train", run, ["data=sample"]) == 130


def test_signals_that_wait_come_after_the_block():
    order = list[str]()
    code = "import signal; print(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"

    def run(_: object) -> None:
        with signals_wait():
            os.kill(os.getpid(), signal.SIGTERM)
            order.append(subprocess.check_output([sys.executable, "-c", code], text=True))
        order.append("never")

    assert command_line.main("train", run, ["data=sample"]) == 143
    assert order == ["2\n"]  # a process started in the block holds both back
