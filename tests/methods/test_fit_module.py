"""Fits inside Lightning's predict equal direct fits, on one process and on two."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from metadip.callbacks import FitCallback
from metadip.data import ImageDataModule
from metadip.methods import FitModule
from metadip.types import FitState, InverseProblem
from tests.fitting.tiny import noisy
from tests.meta.tiny_training import tiny_data, tiny_trainer
from tests.methods.tiny_prediction import KeepResults, double_method, tiny_method
from tests.processes import run_script


def direct(data: ImageDataModule) -> dict[str, Tensor]:
    """Return what fits without a trainer give."""
    dataset = data.dataset("test")
    assert dataset is not None
    problems = data.measure([dataset[key] for key in data.test_dataloader().sampler], "test")
    results = double_method().reconstruct(problems)
    return {problem.name: r.x_hat for problem, r in zip(problems, results, strict=True)}


class Watch(FitCallback):
    """Count the steps of every fit."""

    def __init__(self) -> None:
        self.steps = 0

    def on_step_end(self, state: FitState) -> None:
        self.steps += len(state.active)


def test_predict_equals_direct_fits_and_uses_the_trainers_hooks(tmp_path: Path):
    keep, watch = KeepResults(), Watch()
    trainer = tiny_trainer(tmp_path, callbacks=[watch, keep])
    trainer.predict(FitModule(double_method()), tiny_data(), return_predictions=False)
    expected = direct(tiny_data())
    assert list(keep.results) == list(expected) == ["0", "1", "2", "3"]
    for name, x_hat in expected.items():
        assert torch.equal(keep.results[name].x_hat, x_hat)
    assert watch.steps == 4 * 4


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path: Path, repo: Path):
    run_script("tests.methods.tiny_prediction", str(tmp_path), "2", folder=repo)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert [list(images) for images in ranks] == [["0", "2"], ["1", "3"]]
    both = {**ranks[0], **ranks[1]}
    for name, x_hat in direct(tiny_data()).items():
        torch.testing.assert_close(both[name], x_hat, rtol=0, atol=0)


def test_problems_and_other_batches_are_moved():
    module: LightningModule = FitModule(tiny_method())
    problem = noisy(0)
    (moved,) = module.transfer_batch_to_device([problem], torch.device("meta"), 0)
    assert isinstance(moved, InverseProblem)
    assert moved.y.device.type == "meta"
    assert moved.x is not None
    assert moved.x.device.type == "meta"
    assert problem.y.device.type == "cpu"
    (tensor,) = module.transfer_batch_to_device([torch.zeros(1)], torch.device("meta"), 0)
    assert tensor.device.type == "meta"
