"""The averaged weights: what they are, and that they are validated, saved and released."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from safetensors.torch import load_file
from torch import Tensor

import train
from metadip import command_line
from metadip.meta import WeightAverage
from tests.meta.tiny_training import Record, equal, tiny_data, tiny_module, tiny_trainer
from tests.tiny import TRAIN


def averages(record: Record, decay: float) -> list[dict[str, Tensor]]:
    """Return the average after every recorded step, by the formula."""
    found = [record.weights[0]]
    for n, weights in enumerate(record.weights[1:], start=1):
        share = min(decay, n / (n + 9))
        found.append({k: share * found[-1][k] + (1 - share) * weights[k] for k in weights})
    return found


def assert_close(found: dict[str, Any], expected: dict[str, Tensor]) -> None:
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor.detach(), rtol=1e-6, atol=1e-8)


def test_the_average_is_validated_saved_and_kept_in_the_end(tmp_path: Path):
    module, record = tiny_module(), Record()
    best = ModelCheckpoint(tmp_path, filename="best", monitor="val/psnr_db", mode="max")
    last = ModelCheckpoint(tmp_path, filename="last")
    trainer = tiny_trainer(
        tmp_path,
        callbacks=[WeightAverage(0.2), record, best, last],
        max_steps=6,
        limit_val_batches=1.0,
        enable_checkpointing=True,
    )
    trainer.fit(module, tiny_data(2))
    average = averages(record, 0.2)
    assert not equal(record.weights[-1], average[-1])
    assert_close(dict(module.named_parameters()), average[-1])
    for name in ("best", "last"):
        saved = torch.load(tmp_path / f"{name}.ckpt", weights_only=True)
        step = saved["global_step"] - 1
        assert_close(saved["state_dict"], average[step])
        assert equal(record.weights[step], saved["current_model_state"])
    reported = float(trainer.callback_metrics["val/psnr_db"])
    for weights, same in ((average[-1], True), (record.weights[-1], False)):
        check = tiny_module()
        check.load_state_dict({**check.state_dict(), **weights})
        again = tiny_trainer(tmp_path, limit_val_batches=1.0)
        (metrics,) = again.validate(check, tiny_data(2), verbose=False)
        assert (metrics["val/psnr_db"] == pytest.approx(reported, rel=1e-6)) == same


def test_an_interrupted_validation_saves_the_weights_and_the_average_where_they_belong(
    tmp_path: Path,
):
    class Stop(pl.Callback):
        def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("stop")

    record = Record()
    callbacks = [WeightAverage(0.2), record, Stop(), OnExceptionCheckpoint(tmp_path, "stopped")]
    trainer = tiny_trainer(
        tmp_path, callbacks=callbacks, max_steps=6, limit_val_batches=1.0, enable_checkpointing=True
    )
    with pytest.raises(RuntimeError, match="stop"):
        trainer.fit(tiny_module(), tiny_data(2))
    saved = torch.load(tmp_path / "stopped.ckpt", weights_only=True)
    assert equal(record.weights[-1], saved["current_model_state"])
    assert_close(saved["state_dict"], averages(record, 0.2)[-1])


def test_the_released_prior_of_a_training_holds_the_average(tmp_path: Path):
    changes = ["stability=guard_average", "data.loader.batch_size=1", f"out={tmp_path}"]
    assert command_line.main("train", train.run, [*TRAIN, *changes]) == 0
    saved = torch.load(tmp_path / "best.ckpt", weights_only=True)
    released = load_file(tmp_path / "prior.safetensors")
    assert "inner_optimizer.log_lr" in released
    assert equal(released, saved["state_dict"])
    assert not equal(released, saved["current_model_state"])


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_bad_decay_is_refused(decay: float):
    with pytest.raises(ValueError, match=rf"decay must be in \[0, 1\), got {decay}"):
        WeightAverage(decay)
