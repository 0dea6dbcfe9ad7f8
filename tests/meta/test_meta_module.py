"""Meta-training as a whole: schedule, clipping, bad batches, resuming, processes, validation."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from metadip.fitting import fit, psnr_db
from metadip.meta import OuterSettings
from metadip.physics import Denoise
from metadip.types import InverseProblem
from tests.meta.tiny_training import OUTER, tiny_data, tiny_module, tiny_trainer
from tests.processes import run_script

Weights = dict[str, Tensor]


class Record(pl.Callback):
    """Keep the weights after, and the outer step sizes before, every step."""

    def __init__(self) -> None:
        self.weights: list[Weights] = []
        self.lrs: list[list[float]] = []

    def on_train_batch_start(self, trainer: Any, module: Any, *_: Any) -> None:
        self.lrs.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.weights.append(copy.deepcopy(dict(module.named_parameters())))


class Faulty:
    """Give a measurement that is not a number where asked."""

    def __init__(self, bad_call: int) -> None:
        self.calls, self.bad_call = 0, bad_call

    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        problem = Denoise(0.1, clip=False).measure(x, seed=seed, name=name)
        self.calls += 1
        return replace(problem, y=problem.y * torch.nan) if self.calls == self.bad_call else problem


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_batch_that_is_not_finite_is_skipped_and_counted(tmp_path: Path):
    module, record = tiny_module(), Record()
    start = copy.deepcopy(dict(module.named_parameters()))
    trainer = tiny_trainer(tmp_path, max_steps=4, callbacks=[record])
    trainer.fit(module, tiny_data(task=Faulty(2)))
    assert module.skipped_batches.item() == 1
    assert trainer.global_step == 4
    first, second, third, _ = record.weights
    assert not equal(start, first)
    assert equal(first, second)
    assert not equal(second, third)
    assert all(bool(p.isfinite().all()) for p in module.parameters())
    factor = OuterSettings(**OUTER).schedule(4)
    for step, (weight_lr, step_size_lr) in enumerate(record.lrs):
        assert weight_lr == pytest.approx(0.01 * factor(step))
        assert step_size_lr == pytest.approx(0.02 * factor(step))


def test_everything_that_is_learned_moves_and_step_sizes_stay_in_bounds(tmp_path: Path):
    module, record = tiny_module(step_size_lr=50.0), Record()
    start = copy.deepcopy(dict(module.named_parameters()))
    tiny_trainer(tmp_path, max_steps=2, callbacks=[record]).fit(module, tiny_data())
    for name in ("prior.network.head.weight", "inner_optimizer.log_lr"):
        assert not torch.equal(record.weights[-1][name], start[name])
    assert (
        record.weights[0]["inner_optimizer.momentum_logit"]
        != start["inner_optimizer.momentum_logit"]
    )
    sizes = module.inner_optimizer.log_lr.exp()
    assert sizes.min() >= 1e-3 * (1 - 1e-9)
    assert sizes.max() <= 1 + 1e-9
    assert (sizes.log() - start["inner_optimizer.log_lr"]).abs().max() > 1


def test_the_outer_gradient_is_clipped_to_its_norm(monkeypatch: pytest.MonkeyPatch):
    module, logged = tiny_module(clip_norm=0.5), {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    weight = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    weight.grad = torch.full((4,), 3.0)
    module.configure_gradient_clipping(optimizer)
    torch.testing.assert_close(weight.grad, torch.full((4,), 0.25), rtol=1e-5, atol=0)
    assert logged["train/outer_grad_norm"] == 6.0
    module.configure_gradient_clipping(optimizer)
    torch.testing.assert_close(weight.grad, torch.full((4,), 0.25), rtol=1e-4, atol=0)
    weight.grad = torch.tensor([0, 1, torch.inf, 0])
    module.configure_gradient_clipping(optimizer)
    assert weight.grad is None
    assert logged["train/skipped_batches"] == 1


def test_cosine_schedule_by_hand():
    settings = OuterSettings(**{**OUTER, "warmup_steps": 2, "final_fraction": 0.2})
    factor = settings.schedule(12)
    values = [factor(step) for step in (0, 1, 2, 7, 12, 100)]
    assert values == pytest.approx([0.5, 1.0, 1.0, 0.2 + 0.8 / 2, 0.2, 0.2])


SAVED: dict[str, Any] = {
    "after validation": {"monitor": "val/psnr_db", "mode": "max"},
    "within an epoch": {"every_n_train_steps": 1},
}


@pytest.mark.parametrize(("moment", "step"), [("after validation", 2), ("within an epoch", 3)])
def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path, moment: str, step: int):
    """An epoch has two steps; ``train.py`` saves after validation, and when interrupted."""
    keep = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, **SAVED[moment])
    options = {"max_steps": 5, "enable_checkpointing": True, "limit_val_batches": 1.0}
    straight, resumed = tiny_module(), tiny_module()
    tiny_trainer(tmp_path, callbacks=[keep], **options).fit(straight, tiny_data(2))
    again = tiny_trainer(tmp_path / "again", **options)
    checkpoint = tmp_path / f"step={step}.ckpt"
    again.fit(resumed, tiny_data(2), ckpt_path=checkpoint, weights_only=False)
    assert again.global_step == 5
    assert not equal(dict(tiny_module().named_parameters()), dict(resumed.named_parameters()))
    assert equal(dict(straight.named_parameters()), dict(resumed.named_parameters()))


@pytest.mark.slow
def test_two_processes_learn_the_same_as_one(tmp_path: Path, repo: Path):
    """One process with two tasks per step, two processes with one; and no banner is printed."""
    module = tiny_module()
    tiny_trainer(tmp_path, max_steps=4).fit(module, tiny_data(2))
    out = tmp_path / "two.pt"
    output = run_script("tests.meta.tiny_training", str(out), "2", folder=repo)
    two = torch.load(out, weights_only=True)
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-6, atol=1e-8)
    assert "MEMBER: 2/2" in output
    assert "gym" not in output.lower()


def test_validation_reports_the_psnr_of_fits_from_the_present_start(tmp_path: Path):
    module, data = tiny_module(), tiny_data()
    trainer = tiny_trainer(tmp_path, limit_val_batches=1.0)
    (metrics,) = trainer.validate(module, data, verbose=False)
    dataset = data.dataset("val")
    assert dataset is not None
    problems = data.measure([dataset[key] for key in data.val_dataloader().sampler], "val")  # type: ignore[union-attr]
    assert len(problems) == 3
    for steps in (0, 2):
        results = fit(problems, module.prior, module.objective, module.inner_optimizer, steps=steps)
        pairs = zip(results, problems, strict=True)
        values = [psnr_db(result.x_hat, problem.x).item() for result, problem in pairs]  # type: ignore[arg-type]
        assert metrics[f"val/psnr_{steps}_db"] == pytest.approx(sum(values) / 3, rel=1e-5)
    assert metrics["val/psnr_db"] == metrics["val/psnr_2_db"]


@pytest.mark.parametrize("steps", [[], [-1, 2], [2, 1], [1, 1]])
def test_bad_validation_steps_are_refused(steps: list[int]):
    module = tiny_module()
    with pytest.raises(ValueError, match="val_steps must increase from 0 or more, got") as error:
        type(module)(
            module.prior,
            optimizer=module.inner_optimizer,
            objective=module.objective,
            learner=module.learner,
            outer=module.outer,
            val_steps=steps,
        )
    assert str(steps) in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("weight_lr", 0.0, "must be positive, got .*weight_lr=0.0"),
        ("step_size_lr", -1.0, "must be positive, got .*step_size_lr=-1.0"),
        ("clip_norm", 0.0, "must be positive, got .*clip_norm=0.0"),
        ("warmup_steps", -1, "must be positive, got .*warmup_steps=-1"),
        ("final_fraction", 1.5, r"final_fraction must be in \[0, 1\], got 1.5"),
    ],
)
def test_bad_outer_settings_are_refused(name: str, value: float, text: str):
    with pytest.raises(ValueError, match=text):
        OuterSettings(**{**OUTER, name: value})
