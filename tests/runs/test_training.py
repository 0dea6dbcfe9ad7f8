"""Resuming as a user calls it: what ``ckpt=auto`` takes, and what a new run leaves alone."""

import shutil
from pathlib import Path

import pytest
import torch

import train as train_script
from metadip import command_line
from metadip.files import locked
from tests.full_disk import full_disk
from tests.test_bad_inputs import Marker, assert_one_line
from tests.tiny import TRAIN, replaced, save_tiny_prior

QUIET = [*TRAIN, "trainer.enable_progress_bar=false"]


def train(*changes: object) -> int:
    return command_line.main("train", train_script.run, replaced(QUIET, list(map(str, changes))))


def step_of(ckpt: Path) -> int:
    step: int = torch.load(ckpt, weights_only=True)["global_step"]
    return step


def test_auto_begins_then_goes_on_and_a_new_run_keeps_the_old(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out, last = f"out={tmp_path}", tmp_path / "last.ckpt"
    start = f"start={save_tiny_prior(tmp_path / 'start.safetensors')}"
    assert train(out, "ckpt=auto", start, "trainer.max_steps=1") == 0
    assert f"ckpt=auto: no {last} yet, a new run\n" in capsys.readouterr().out
    assert step_of(last) == 1
    assert train(out, "ckpt=auto", start, "trainer.max_steps=3") == 0
    assert f"ckpt=auto: resuming {last}\n" in capsys.readouterr().out
    assert step_of(last) == 3
    assert (tmp_path / "metrics.1.csv").is_file()
    assert not (tmp_path / "last.1.ckpt").exists()
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert train(out, "trainer.max_steps=2") == 2
    error = capsys.readouterr().err
    assert f"error: out={tmp_path} holds another training (last.ckpt, best.ckpt, prior." in error
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before
    assert train(out, "trainer.max_steps=2", "overwrite=true") == 0
    assert step_of(last) == 2
    assert {"best.1.ckpt", "prior.1.safetensors"} <= {file.name for file in tmp_path.iterdir()}
    assert step_of(tmp_path / "last.1.ckpt") == 3
    assert "ckpt=auto" not in capsys.readouterr().out


@pytest.mark.parametrize("engine", ["learn2learn", "functional"])
def test_mixed_precision_trains_and_validates(tmp_path: Path, engine: str):
    precision = "trainer.precision=bf16-mixed"
    assert train(f"out={tmp_path}", f"learner={engine}", precision) == 0
    assert step_of(tmp_path / "last.ckpt") == 2
    assert "val/psnr_db" in (tmp_path / "metrics.csv").read_text()


def test_a_run_whose_folder_was_moved_still_has_its_best(tmp_path: Path):
    assert train(f"out={tmp_path / 'old'}") == 0
    shutil.move(tmp_path / "old", tmp_path / "new")
    (tmp_path / "new" / "prior.safetensors").unlink()
    assert train(f"out={tmp_path / 'new'}", "ckpt=auto") == 0
    assert (tmp_path / "new" / "prior.safetensors").is_file()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["ckpt=none.ckpt"], "ckpt=none.ckpt is not a file: give the last.ckpt of the run"),
        (["ckpt=none.ckpt", "start=faces64"], "give ckpt= to resume a run, or start= to begin"),
        (["checkpoint_minutes=-1"], "checkpoint_minutes=-1 must be a whole number of at least 0"),
    ],
)
def test_mistakes_are_told(
    changes: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(*changes, f"out={tmp_path}") == 2
    assert text in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_bad_checkpoint_is_found_before_anything_is_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert train(f"out={out}") == 0
    good = torch.load(out / "last.ckpt", weights_only=True)
    bad = {
        "no dictionary": [1, 2],
        "foreign": {"state_dict": {"w": torch.zeros(2)}},
        "nothing": {**good, "state_dict": None},
        "list": {**good, "state_dict": [torch.zeros(2)]},
        "numbers": {**good, "state_dict": {1: torch.zeros(2)}},
        "no loops": {k: v for k, v in good.items() if k != "loops"},
        "code": {**good, "state_dict": Marker(tmp_path / "executed")},
    }
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    capsys.readouterr()
    for name, content in bad.items():
        ckpt = tmp_path / f"{name}.ckpt"
        torch.save(content, ckpt)
        assert train(f"out={out}", f"ckpt={ckpt}", "overwrite=true") == 2, name
        assert_one_line(capsys.readouterr().err, f"ckpt={ckpt}")
    other = ["ckpt=auto", "prior.network.channels=[8,6]"]
    assert train(f"out={out}", *other) == 2
    assert_one_line(capsys.readouterr().err, "its network or inner rule is another one")
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before
    assert not (tmp_path / "executed").exists()


@pytest.mark.slow  # trains twice
def test_what_lightning_cannot_restore_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert train(f"out={tmp_path}") == 0
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    content["optimizer_states"] = [{"state": {}, "param_groups": []}]
    torch.save(content, tmp_path / "last.ckpt")
    assert train(f"out={tmp_path}", "ckpt=auto", "trainer.max_steps=3") == 2
    assert_one_line(capsys.readouterr().err, "cannot be resumed with these settings: ")


@pytest.mark.slow  # trains twice
def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(f"out={tmp_path}", "ckpt=auto") == 0
    (tmp_path / "last.ckpt").unlink()
    assert train(f"out={tmp_path}", "ckpt=auto", "seed=1") == 2
    assert "holds another training (best.ckpt, prior.safetensors)" in capsys.readouterr().err
    assert train(f"out={tmp_path}", "ckpt=auto") == 0
    assert (tmp_path / "best.1.ckpt").is_file()


def test_two_runs_do_not_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with locked(tmp_path):
        assert train(f"out={tmp_path}") == 2
    assert f"another run is writing to out={tmp_path}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert train(f"out={tmp_path}") == 0


@pytest.mark.slow  # trains twice
def test_a_full_disk_ends_training_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert train(f"out={tmp_path}") == 0
    step = step_of(tmp_path / "last.ckpt")
    capsys.readouterr()
    with full_disk(4096):
        assert train(f"out={tmp_path}", "ckpt=auto", "trainer.max_steps=3") == 2
    assert_one_line(capsys.readouterr().err, "cannot write")
    assert step_of(tmp_path / "last.ckpt") == step
    assert not list(tmp_path.rglob(".*"))
