"""Real processes: killed without warning, and started by torchrun."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import TIMEOUT_S, launched, run_script
from tests.tiny import TRAIN, replaced

SMALL = replaced(
    TRAIN,
    [
        "data.loader.epoch_size=16",  # 8 outer steps of 2 tasks
        "data.loader.val_size=2",
        "trainer.max_steps=20",
        "trainer.log_every_n_steps=1",
        "trainer.enable_progress_bar=false",
        "stability=guard_average",
    ],
)


def assert_same(a: Any, b: Any) -> None:
    """Compare two parts of checkpoints, bit for bit."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        assert a == b


def load(ckpt: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(ckpt, weights_only=True)
    return content


def assert_same_training(a: Path, b: Path) -> None:
    one, other = load(a / "last.ckpt"), load(b / "last.ckpt")
    for part in ("global_step", "epoch", "state_dict", "current_model_state", "averaging_state"):
        assert_same(one[part], other[part])
    for part in ("optimizer_states", "lr_schedulers"):
        assert_same(one[part], other[part])
    assert_same(load(a / "best.ckpt")["state_dict"], load(b / "best.ckpt")["state_dict"])


def steps_logged(out: Path) -> int:
    """Return the outer steps that are done, by the log."""
    log = out / "metrics.csv"
    lines = log.read_text().splitlines() if log.is_file() else []
    if len(lines) < 2 or "train/outer_loss" not in lines[0]:
        return 0
    rows = [line.split(",") for line in lines]
    step, loss = rows[0].index("step"), rows[0].index("train/outer_loss")
    return max((1 + int(row[step]) for row in rows[1:] if len(row) > loss and row[loss]), default=0)


def kill_at(step: int, folder: Path, *arguments: str) -> None:
    """Start a training and kill it, without warning, once ``step`` is logged."""
    out = next(Path(a.removeprefix("out=")) for a in arguments if a.startswith("out="))
    with launched("train", arguments, folder) as process:
        end = time.monotonic() + TIMEOUT_S
        while steps_logged(out) < step and process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_between_checkpoints_and_resumed_it_ends_with_the_same_weights(
    tmp_path: Path, repo: Path
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_script("train", *SMALL, f"out={whole}", folder=repo)
    for step in (random.randint(2, 6), random.randint(9, 14)):  # checkpoints after 8 and 16
        kill_at(step, repo, *SMALL, f"out={parts}", "ckpt=auto")
        done = steps_logged(parts)
        saved = load(parts / "last.ckpt")["global_step"] if (parts / "last.ckpt").exists() else 0
        print(f"killed after step {done}, last.ckpt has step {saved}")
        assert saved < done < 20
        assert saved in (0, 8)
    output = run_script("train", *SMALL, f"out={parts}", "ckpt=auto", folder=repo)
    assert f"ckpt=auto: resuming {parts / 'last.ckpt'}" in output
    assert_same_training(whole, parts)
    assert len(list(parts.glob("metrics*.csv"))) == 3


@pytest.mark.slow
def test_torchrun_trains_as_lightnings_own_processes_do(tmp_path: Path, repo: Path):
    arguments = [*SMALL, "trainer.devices=2"]
    run_script("train", *arguments, f"out={tmp_path / 'own'}", folder=repo)
    launcher = ["--standalone", "--nproc_per_node=2", "train.py"]
    out = f"out={tmp_path / 'torchrun'}"
    output = run_script("torch.distributed.run", *launcher, *arguments, out, folder=repo)
    assert_same_training(tmp_path / "own", tmp_path / "torchrun")
    assert output.count("prior: ") == 1
    files = [sorted(p.name for p in (tmp_path / run).rglob("*")) for run in ("own", "torchrun")]
    assert files[0] == files[1]
    assert "metrics.csv" in files[0]
    assert not any(name.startswith(("metrics.1", "last.1")) for name in files[0])
