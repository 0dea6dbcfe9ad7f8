"""Resuming as a user calls it: what ``ckpt=auto`` takes, and what a new run leaves alone."""

import shutil
from pathlib import Path

import pytest
import torch

import train as train_script
from metadip import command_line
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
    assert train(out, "trainer.max_steps=2") == 0
    assert step_of(last) == 2
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
