"""The guard against collapse: exactly back to the best, smaller steps, the same when resumed."""

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from metadip.meta import CollapseGuard, MetaModule, WeightAverage
from tests.meta.tiny_training import (
    OUTER,
    Record,
    Spike,
    equal,
    tiny_data,
    tiny_module,
    tiny_trainer,
)

ALL_VALIDATIONS: dict[str, Any] = {"limit_val_batches": 1.0, "enable_checkpointing": True}


class Validations(pl.Callback):
    """Note PSNR, learned tensors and Adam's state at every validation."""

    def __init__(self) -> None:
        self.psnr_db: list[float] = []
        self.states: list[dict[str, Tensor]] = []

    @property
    def state_key(self) -> str:
        """Tell two of them apart."""
        return str(id(self))

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Note the present state."""
        self.psnr_db.append(float(trainer.callback_metrics["val/psnr_db"]))
        state = dict(module.named_parameters())
        for i, moments in trainer.optimizers[0].state_dict()["state"].items():
            state |= {f"adam.{i}.{name}": moment for name, moment in moments.items()}
        for callback in trainer.callbacks:
            if isinstance(callback, WeightAverage):
                state |= callback.tensors()
        self.states.append(copy.deepcopy(state))


def scripted(module: MetaModule, psnr_db: Iterable[float]) -> MetaModule:
    """Return the module with these results of validation."""
    values = iter(psnr_db)
    module.on_validation_epoch_end = lambda: module.log("val/psnr_db", next(values))  # type: ignore[method-assign]
    return module


@pytest.mark.parametrize("average", [[], [WeightAverage(0.5)]], ids=["weights", "average"])
def test_a_collapse_is_taken_back_exactly(
    tmp_path: Path, average: list[pl.Callback], capsys: pytest.CaptureFixture[str]
):
    """An epoch has two outer steps; the fifth one has a rate 2000 times too large."""
    guard, record = CollapseGuard(0.5, lr_factor=0.25, after_steps=0), Record()
    before, after = Validations(), Validations()
    last = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1)
    callbacks = [*average, record, before, guard, after, last]
    trainer = tiny_trainer(tmp_path, callbacks=callbacks, max_steps=8, **ALL_VALIDATIONS)
    trainer.fit(tiny_module(Spike(**OUTER)), tiny_data(2))
    best = max((0, 1), key=lambda i: before.psnr_db[i])
    assert before.psnr_db[2] < before.psnr_db[best] - 0.5
    assert not equal(before.states[best], before.states[2])
    assert equal(before.states[best], after.states[2])
    for untouched in (0, 1, 3):
        assert equal(before.states[untouched], after.states[untouched])
    assert (guard.rollbacks, trainer.global_step) == (1, 8)
    assert trainer.callback_metrics["train/guard_rollbacks"] == 1
    assert [lr for lr, _ in record.lrs] == pytest.approx([1e-3] * 4 + [2] + [1e-3] + [2.5e-4] * 2)
    assert [lr for _, lr in record.lrs] == pytest.approx([2 * lr for lr, _ in record.lrs])
    saved = torch.load(tmp_path / "step=6.ckpt", weights_only=True)
    weights = saved["current_model_state" if average else "state_dict"]
    assert equal({k: v for k, v in after.states[2].items() if k in weights}, weights)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("guard: ")]
    assert len(lines) == 1
    assert "at outer step 6; back to the best, outer rates times 0.25" in lines[0]
    assert f"from {before.psnr_db[best]:.2f} to {before.psnr_db[2]:.2f} dB" in lines[0]


def test_only_a_fall_below_the_best_is_a_collapse(tmp_path: Path):
    """Falls are measured from the best; every return is to the same state, untouched meanwhile."""
    guard, before, after = (
        CollapseGuard(0.5, lr_factor=0.5, after_steps=0),
        Validations(),
        Validations(),
    )
    psnr_db = [float("nan"), 20.0, 25.0, 24.6, 24.4, float("nan"), 24.9, -float("inf"), 26.0]
    trainer = tiny_trainer(
        tmp_path, callbacks=[before, guard, after], max_steps=18, limit_val_batches=1.0
    )
    trainer.fit(scripted(tiny_module(), psnr_db), tiny_data(2))
    changed = [not equal(a, b) for a, b in zip(before.states, after.states, strict=True)]
    assert changed == [False, False, False, False, True, True, False, True, False]
    for i in (4, 5, 7):
        assert equal(before.states[2], after.states[i])
    assert (guard.rollbacks, guard.best_db) == (3, 26.0)
    assert equal(
        {k: v for k, v in after.states[8].items() if "adam" not in k}, guard.best["tensors"]
    )


@pytest.mark.parametrize("average", [False, True], ids=["weights", "average"])
@pytest.mark.parametrize("step", [2, 5, 6, 7], ids=["best", "collapsed", "taken back", "after"])
def test_a_resumed_training_returns_to_the_same_weights(tmp_path: Path, step: int, average: bool):
    """Also from a checkpoint that was written between the collapse and the validation."""

    def callbacks() -> list[pl.Callback]:
        guard = CollapseGuard(0.5, lr_factor=0.5, after_steps=0)
        return [guard, WeightAverage(0.5)] if average else [guard]

    straight, resumed = (scripted(tiny_module(), [20, 25, 21, 25.2, 25.1]) for _ in range(2))
    keep = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
    first = tiny_trainer(tmp_path, max_steps=10, callbacks=[*callbacks(), keep], **ALL_VALIDATIONS)
    if step == 6:  # as train.py does, after validation
        keep._every_n_train_steps, keep._every_n_epochs = 0, 1
    first.fit(straight, tiny_data(2))
    psnr_db = {2: [25, 21], 5: [21], 6: [], 7: []}[step]
    scripted(resumed, [*psnr_db, 25.2, 25.1])
    again = tiny_trainer(tmp_path / "again", max_steps=10, callbacks=callbacks(), **ALL_VALIDATIONS)
    file = tmp_path / f"step={step}.ckpt"
    again.fit(resumed, tiny_data(2), ckpt_path=file, weights_only=True)
    assert again.callbacks[0].rollbacks == 1  # type: ignore[attr-defined]
    assert again.global_step == 10
    assert equal(dict(straight.named_parameters()), dict(resumed.named_parameters()))
    rates = [[g["lr"] for g in trainer.optimizers[0].param_groups] for trainer in (first, again)]
    assert rates[0] == rates[1]


def test_validation_outside_of_training_is_not_looked_at(tmp_path: Path):
    guard = CollapseGuard(0.5, lr_factor=0.5, after_steps=0)
    trainer = tiny_trainer(tmp_path, callbacks=[guard], limit_val_batches=1.0)
    trainer.validate(tiny_module(), tiny_data(), verbose=False)
    assert guard.best == {}


def test_what_comes_before_the_guard_watches_is_not_held_against_later(tmp_path: Path):
    """An epoch has two outer steps; the untrained start is better than what follows."""
    guard = CollapseGuard(0.5, lr_factor=0.5, after_steps=3)
    module = scripted(tiny_module(), [30.0, 20.0, 25.0, 24.0])
    trainer = tiny_trainer(tmp_path, callbacks=[guard], max_steps=8, **ALL_VALIDATIONS)
    trainer.fit(module, tiny_data(2))
    assert (guard.rollbacks, guard.best_db) == (1, 25.0)


@pytest.mark.parametrize(
    ("max_drop_db", "lr_factor", "after_steps", "text"),
    [
        (0.0, 0.5, 0, "max_drop_db must be above 0, got 0.0"),
        (float("nan"), 0.5, 0, "max_drop_db must be above 0, got nan"),
        (0.5, 0.0, 0, r"lr_factor must be in \(0, 1\], got 0.0"),
        (0.5, 1.5, 0, r"lr_factor must be in \(0, 1\], got 1.5"),
        (0.5, 0.5, -1, "after_steps must be at least 0, got -1"),
    ],
)
def test_bad_arguments_are_refused(
    max_drop_db: float, lr_factor: float, after_steps: int, text: str
):
    with pytest.raises(ValueError, match=text):
        CollapseGuard(max_drop_db, lr_factor=lr_factor, after_steps=after_steps)
