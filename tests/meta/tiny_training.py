"""Meta-training in miniature, in float64; as a script it trains on several processes."""

import copy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from metadip.data import ImageDataModule, LoaderSettings, SampleKey
from metadip.meta import (
    CollapseGuard,
    Curriculum,
    FunctionalOptions,
    MetaModule,
    OuterSettings,
    WeightAverage,
    build_learner,
    inner_optimizer,
)
from metadip.tasks import DenoisingTask
from metadip.types import CleanImage, Task
from tests.fitting.tiny import MSE_TV, image, tiny_prior

SHAPE = (3, 8, 8)
OUTER: dict[str, Any] = {
    "weight_lr": 0.01,
    "step_size_lr": 0.02,
    "final_fraction": 0.1,
    "warmup_steps": 1,
    "clip_norm": 10.0,
    "latent_lr": 0.0,
    "step_size_delay_steps": 0,
}
LEARNER: dict[str, Any] = {
    "inner_steps": 2,
    "multi_step_weight": 0.3,
    "multi_step_from": 0,
    "log_error": False,
    "first_order": False,
    "curriculum": Curriculum(),
    "functional": FunctionalOptions(),
}


@dataclass(frozen=True)
class Spike(OuterSettings):
    """Small constant step sizes, but for the outer steps that wreck what was learned."""

    at: tuple[int, ...] = (4,)

    def schedule(self, total_steps: int, *, delay_steps: int = 0) -> Callable[[int], float]:
        """Return the factor at each outer step."""
        return lambda step: 200.0 if step in self.at else 0.1


class Record(pl.Callback):
    """Keep the weights after, and the outer step sizes before, every step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []
        self.lrs: list[list[float]] = []

    def on_train_batch_start(self, trainer: Any, module: Any, *_: Any) -> None:
        """Note the step sizes."""
        self.lrs.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        """Note the weights."""
        self.weights.append(copy.deepcopy(dict(module.named_parameters())))


def equal(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Tell whether all tensors of ``a`` have the same values in ``b``."""
    return all(torch.equal(a[name], b[name]) for name in a)


class Images:
    """Four random images in float64."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, key: SampleKey, /) -> CleanImage:
        return CleanImage(image(key.index, SHAPE)[0].double(), key.index, str(key.index), key.epoch)


def tiny_data(batch_size: int = 1, *, task: Task | None = None) -> ImageDataModule:
    """Return denoising tasks of four images, as many in an epoch."""
    loader = LoaderSettings(
        batch_size=batch_size,
        val_batch_size=2,
        epoch_size=4,
        val_size=3,
        test_size=None,
        num_workers=0,
    )
    task = DenoisingTask(0.1, clip=False) if task is None else task
    return ImageDataModule(Images(), val=Images(), test=Images(), task=task, loader=loader, seed=0)


def tiny_module(
    outer: OuterSettings | None = None, *, engine: str = "learn2learn", **changes: Any
) -> MetaModule:
    """Return a module that is the same at every call."""
    prior = tiny_prior().double()
    rule = inner_optimizer(
        prior,
        lr=0.3,
        momentum=0.5,
        n_steps=2,
        per_tensor=True,
        lr_bounds=(1e-3, 1.0),
        beyond="hold",
    )
    return MetaModule(
        prior,
        optimizer=rule.double(),
        objective=MSE_TV,
        learner=build_learner(engine, **LEARNER),
        outer=outer or OuterSettings(**{**OUTER, **changes}),
        val_steps=(0, 2),
    )


def tiny_trainer(folder: Path, **options: Any) -> pl.Trainer:
    """Return a quiet trainer on the CPU."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
        "default_root_dir": folder,
    }
    return pl.Trainer(**{**defaults, **options})


def guarded_training(folder: Path, **options: Any) -> MetaModule:
    """Return a module that collapsed on the way and was taken back, trained on two tasks a step."""
    module, guard = tiny_module(Spike(**OUTER)), CollapseGuard(0.5, lr_factor=0.5, after_steps=0)
    settings = {"max_steps": 8, "limit_val_batches": 1.0, **options}
    trainer = tiny_trainer(folder, callbacks=[guard, WeightAverage(0.5)], **settings)
    trainer.fit(module, tiny_data(2 // trainer.world_size))
    assert guard.rollbacks == 1
    return module


if __name__ == "__main__":  # OUT DEVICES
    torch.set_num_threads(1)
    out, devices = Path(sys.argv[1]), int(sys.argv[2])
    module = tiny_module()
    trainer = tiny_trainer(out.parent, devices=devices, strategy="ddp", max_steps=5)
    trainer.fit(module, tiny_data(2 // devices))
    guarded = guarded_training(out.parent, devices=devices, strategy="ddp")
    if trainer.is_global_zero:
        torch.save({"plain": module.state_dict(), "guarded": guarded.state_dict()}, out)
