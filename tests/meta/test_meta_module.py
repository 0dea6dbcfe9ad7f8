"""Meta-training as a whole: schedule, clipping, bad batches, resuming, processes, validation."""

import copy
import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from metadip.checkpoint import load_prior, save_prior
from metadip.fitting import fit
from metadip.meta import ENGINES, OuterSettings
from metadip.meta.meta_module import GROUPS
from metadip.metrics import psnr_db
from metadip.priors import LatentNetwork, Representation
from metadip.tasks import DenoisingTask
from metadip.types import InverseProblem, UserError
from tests.fitting.tiny import image
from tests.meta.tiny_training import (
    OUTER,
    SHAPE,
    Record,
    equal,
    guarded_training,
    tiny_data,
    tiny_module,
    tiny_trainer,
)
from tests.processes import run_script


class Faulty:
    """Give a measurement that is not a number where asked."""

    def __init__(self, bad_call: int) -> None:
        self.calls, self.bad_call = 0, bad_call

    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        problem = DenoisingTask(0.1, clip=False).measure(x, seed=seed, name=name)
        self.calls += 1
        return replace(problem, y=problem.y * torch.nan) if self.calls == self.bad_call else problem


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


@dataclass(frozen=True)
class Changed:
    """Change a field of every problem."""

    changes: Mapping[str, Any]

    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        problem = DenoisingTask(0.1, clip=False).measure(x, seed=seed, name=name)
        return replace(problem, **self.changes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"unknown": ("filter",)}, r"this one hides filter: tell it \(task\.known=true\)"),
        ({"image_shape": (2, *SHAPE[1:])}, "the task has images of 2 channels, and the prior"),
    ],
)
def test_tasks_that_cannot_be_trained_on_are_refused(
    changes: Mapping[str, Any], text: str, tmp_path: Path
):
    with pytest.raises(UserError, match=text):
        tiny_trainer(tmp_path, max_steps=1).fit(tiny_module(), tiny_data(task=Changed(changes)))


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
    sizes = record.weights[-1]["inner_optimizer.log_lr"].exp()  # as a callback sees them
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
    assert logged["train/outer_grad_norm"] == logged["train/outer_grad_norm_weights"] == 6.0
    module.configure_gradient_clipping(optimizer)
    torch.testing.assert_close(weight.grad, torch.full((4,), 0.25), rtol=1e-4, atol=0)
    weight.grad = torch.tensor([0, 1, torch.inf, 0])
    module.configure_gradient_clipping(optimizer)
    assert weight.grad is None
    assert logged["train/skipped_batches"] == 1


def test_skipped_batches_and_the_parts_of_the_gradient_are_in_the_log(tmp_path: Path):
    """The whole norm is that of its parts; a batch that is skipped is counted at its step."""
    module, logger = tiny_module(latent_lr=0.01), CSVLogger(tmp_path, name="", version="")
    trainer = tiny_trainer(tmp_path, max_steps=4, logger=logger, log_every_n_steps=1)
    trainer.fit(module, tiny_data(task=Faulty(2)))
    with (tmp_path / "metrics.csv").open() as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    assert [row["train/skipped_batches"] for row in rows] == [0, 1, 1, 1]
    for row in (rows[0], *rows[2:]):
        parts = [row[f"train/outer_grad_norm_{part}"] for part in GROUPS]
        assert min(parts) > 0
        assert row["train/outer_grad_norm"] == pytest.approx(math.hypot(*parts), rel=1e-5)


def test_step_sizes_and_momentum_can_begin_to_learn_later(tmp_path: Path):
    module, record = tiny_module(step_size_delay_steps=2), Record()
    start = copy.deepcopy(dict(module.named_parameters()))
    tiny_trainer(tmp_path, max_steps=4, callbacks=[record]).fit(module, tiny_data())
    for name in ("inner_optimizer.log_lr", "inner_optimizer.momentum_logit"):
        same = [torch.equal(weights[name], start[name]) for weights in record.weights]
        assert same == [True, True, False, False]
    assert not torch.equal(*(w["prior.network.head.weight"] for w in record.weights[:2]))
    factor = OuterSettings(**OUTER).schedule(4)
    assert [lr for lr, _ in record.lrs] == pytest.approx([0.01 * factor(k) for k in range(4)])
    assert [lr for _, lr in record.lrs] == pytest.approx([0, 0, 0.02 * factor(2), 0.02 * factor(3)])


def noise_of(prior: Representation) -> Tensor:
    assert isinstance(prior, LatentNetwork)
    noise: Tensor = prior.latent.noise
    return noise


@pytest.mark.parametrize("engine", ENGINES)
def test_the_latent_is_learned_where_asked_and_released(tmp_path: Path, engine: str):
    """Its gradient is that of finite differences; the released form holds the learned noise."""
    module, fixed = (tiny_module(engine=engine, latent_lr=rate) for rate in (0.05, 0.0))
    noise = noise_of(module.prior)
    drawn = noise.detach().clone()
    problem = DenoisingTask(0.1, clip=False).measure(image(0, SHAPE).double(), seed=0)

    def outer_loss() -> Tensor:
        parts = (module.prior, module.inner_optimizer, module.objective)
        return module.learner.outer_loss(*parts, [problem]).loss

    outer_loss().backward()
    assert noise.grad is not None
    gradient, losses = noise.grad[0, 0, 1, 2].item(), []
    for change in (1e-5, -2e-5):
        noise.data[0, 0, 1, 2] += change
        losses.append(outer_loss().item())
    noise.data.copy_(drawn)
    assert gradient == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-4)
    for trained in (module, fixed):
        tiny_trainer(tmp_path, max_steps=2).fit(trained, tiny_data())
    assert torch.equal(noise_of(fixed.prior), drawn)
    assert 0.01 < (noise - drawn).abs().max() < 0.11  # two steps of Adam
    save_prior(tmp_path / "a.safetensors", module.float().state_dict(), module.description)
    assert torch.equal(noise_of(load_prior(tmp_path / "a.safetensors").prior), noise)


def test_cosine_schedule_by_hand():
    settings = OuterSettings(**{**OUTER, "warmup_steps": 2, "final_fraction": 0.2})
    factor = settings.schedule(12)
    values = [factor(step) for step in (0, 1, 2, 7, 12, 100)]
    assert values == pytest.approx([0.5, 1.0, 1.0, 0.2 + 0.8 / 2, 0.2, 0.2])
    late = settings.schedule(12, delay_steps=6)
    assert [late(step) for step in (0, 5, 6, 7, 12)] == pytest.approx(
        [0, 0, factor(6) / 2, factor(7), 0.2]
    )
    assert OuterSettings(**{**OUTER, "warmup_steps": 0}).schedule(12)(0) == 1


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
    tiny_trainer(tmp_path, max_steps=5).fit(module, tiny_data(2))
    out = tmp_path / "two.pt"
    output = run_script("tests.meta.tiny_training", str(out), "2", folder=repo)
    two = torch.load(out, weights_only=True)
    for training, one in (("plain", module), ("guarded", guarded_training(tmp_path))):
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(two[training][name], tensor, rtol=1e-6, atol=1e-8)
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
        ("latent_lr", -1.0, "must be positive, got .*latent_lr=-1.0"),
        ("step_size_delay_steps", -1, "must be positive, got .*step_size_delay_steps=-1"),
        ("clip_norm", 0.0, "must be positive, got .*clip_norm=0.0"),
        ("warmup_steps", -1, "must be positive, got .*warmup_steps=-1"),
        ("final_fraction", 1.5, r"final_fraction must be in \[0, 1\], got 1.5"),
    ],
)
def test_bad_outer_settings_are_refused(name: str, value: float, text: str):
    with pytest.raises(ValueError, match=text):
        OuterSettings(**{**OUTER, name: value})
