"""From any checkpoint, training goes on as if it had never stopped; signals save and stop."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from metadip.meta import CollapseGuard, MetaModule, WeightAverage
from metadip.runs.checkpoints import SIGNALS, AtomicCheckpointIO, LastCheckpoint
from tests.meta.tiny_training import equal, tiny_data, tiny_module, tiny_trainer

EPOCH = 4  # batches


class Kept(LastCheckpoint):
    """Keep a copy of every checkpoint."""

    def _save(self, trainer: pl.Trainer) -> None:
        super()._save(trainer)
        shutil.copy(self.path, self.path.with_name(f"step_{trainer.global_step:02d}.ckpt"))


class Watch(pl.Callback):
    """Note the validations, and send this process a signal in the middle of a batch."""

    def __init__(self, number: int = 0, batch: int = -1) -> None:
        self.number, self.batch = number, batch
        self.psnrs_db: list[tuple[int, float]] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if self.number and trainer.global_step == self.batch:
            os.kill(os.getpid(), self.number)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        psnr_db = float(trainer.callback_metrics["val/psnr_db"])
        self.psnrs_db.append((trainer.fit_loop.epoch_loop.total_batch_idx, psnr_db))


def run(
    folder: Path,
    *,
    steps: int = 9,
    minutes: float = 0,
    watch: Watch | None = None,
    ckpt: Path | None = None,
    stability: bool = False,
    **options: Any,
) -> tuple[MetaModule, list[tuple[int, float]]]:
    """Train, and return the module and the validations."""
    watch = watch or Watch()
    callbacks = [watch, Kept(folder / "last.ckpt", minutes=minutes)]
    if stability:
        callbacks += [CollapseGuard(1e-9, lr_factor=0.5, after_steps=0), WeightAverage(0.9)]
    trainer = tiny_trainer(
        folder,
        max_steps=steps,
        callbacks=callbacks,
        enable_checkpointing=True,
        limit_val_batches=1.0,
        **options,
    )
    trainer.strategy.checkpoint_io = AtomicCheckpointIO()
    module, data = tiny_module(), tiny_data()
    data.loader = replace(data.loader, epoch_size=EPOCH)
    trainer.fit(module, data, ckpt_path=ckpt, weights_only=True)
    return module, watch.psnrs_db


def saved_steps(folder: Path) -> list[int]:
    return [int(path.stem[-2:]) for path in sorted(folder.glob("step_*.ckpt"))]


CASES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "a validation in each epoch": ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
    "in every second epoch": ({"check_val_every_n_epoch": 2}, [1, 2, 3, 5, 6, 7, 8, 9]),
    "within epochs": ({"val_check_interval": 2, "stability": True}, [1, 3, 4, 5, 7, 8, 9]),
    "several batches per step": ({"accumulate_grad_batches": 3}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
}


@pytest.mark.parametrize("case", CASES)
def test_training_goes_on_from_any_checkpoint_as_if_it_had_not_stopped(case: str, tmp_path: Path):
    """With 3 batches per step an epoch of 4 has two steps, the second of one batch."""
    options, steps = CASES[case]
    straight, validations = run(tmp_path / "straight", **options)
    assert saved_steps(tmp_path / "straight") == steps
    assert validations
    for step in steps[1:-1:2]:
        ckpt = tmp_path / "straight" / f"step_{step:02d}.ckpt"
        resumed, later = run(tmp_path / str(step), ckpt=ckpt, **options)
        assert equal(straight.state_dict(), resumed.state_dict())
        assert later == validations[len(validations) - len(later) :]
        assert saved_steps(tmp_path / str(step)) == [s for s in steps if s > step]


@pytest.mark.parametrize(("number", "step"), [*((n, 2) for n in SIGNALS), (signal.SIGTERM, 3)])
def test_a_signal_ends_the_run_after_the_outer_step(
    number: signal.Signals, step: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """In the last step of an epoch (3), its validation comes first."""
    straight, validations = run(tmp_path / "straight", minutes=60)
    assert saved_steps(tmp_path / "straight") == [4, 8, 9]
    before = [signal.getsignal(n) for n in SIGNALS]
    watch = Watch(number, step)
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, minutes=60, watch=watch)
    assert stop.value.code == 128 + number
    assert saved_steps(tmp_path) == [step + 1]
    assert len(watch.psnrs_db) == (step == 3)
    assert [signal.getsignal(n) for n in SIGNALS] == before
    printed = capsys.readouterr().out
    assert f"{number.name}: will save and stop after this outer step" in printed
    assert f"stopped by {number.name} after outer step {step + 1}; ckpt=auto" in printed
    resumed, later = run(tmp_path, minutes=60, ckpt=tmp_path / "last.ckpt")
    assert equal(straight.state_dict(), resumed.state_dict())
    assert watch.psnrs_db + later == validations


def test_the_second_ctrl_c_stops_at_once(tmp_path: Path):
    class Twice(Watch):
        def on_train_batch_start(self, *arguments: Any) -> None:
            super().on_train_batch_start(*arguments)
            super().on_train_batch_start(*arguments)

    with pytest.raises(SystemExit) as stop:
        run(tmp_path, minutes=60, watch=Twice(signal.SIGINT, 2))
    assert stop.value.code == 130
    assert saved_steps(tmp_path) == []


def test_a_checkpoint_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, writer = tmp_path / "last.ckpt", AtomicCheckpointIO()
    writer.save_checkpoint({"step": 1}, path)

    def save_half(content: Any, place: Path) -> None:
        assert place.parent == tmp_path  # the same disk: the last move is a rename
        place.write_bytes(b"half")
        assert torch.load(path) == {"step": 1}
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", save_half)
    with pytest.raises(KeyboardInterrupt):
        writer.save_checkpoint({"step": 2}, path)
    assert torch.load(path) == {"step": 1}
    assert os.listdir(tmp_path) == ["last.ckpt"]
