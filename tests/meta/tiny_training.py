"""Meta-training in miniature, in float64; as a script it trains on several processes."""

import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from metadip.data import ImageDataModule, LoaderSettings, SampleKey
from metadip.meta import MetaModule, OuterSettings, build_learner, inner_optimizer
from metadip.physics import Denoise
from metadip.types import CleanImage, Task
from tests.fitting.tiny import MSE_TV, image, tiny_prior

SHAPE = (3, 8, 8)
OUTER: dict[str, Any] = {
    "weight_lr": 0.01,
    "step_size_lr": 0.02,
    "final_fraction": 0.1,
    "warmup_steps": 1,
    "clip_norm": 10.0,
}
LEARNER: dict[str, Any] = {
    "inner_steps": 2,
    "multi_step_weight": 0.3,
    "multi_step_from": 0,
    "first_order": False,
}


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
    task = Denoise(0.1, clip=False) if task is None else task
    return ImageDataModule(Images(), val=Images(), test=Images(), task=task, loader=loader, seed=0)


def tiny_module(**outer: Any) -> MetaModule:
    """Return a module that is the same at every call."""
    prior = tiny_prior().double()
    rule = inner_optimizer(
        prior.network,
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
        learner=build_learner("learn2learn", **LEARNER),
        outer=OuterSettings(**{**OUTER, **outer}),
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


if __name__ == "__main__":  # OUT DEVICES
    torch.set_num_threads(1)
    out, devices = Path(sys.argv[1]), int(sys.argv[2])
    module = tiny_module()
    trainer = tiny_trainer(out.parent, devices=devices, strategy="ddp", max_steps=4)
    trainer.fit(module, tiny_data(2 // devices))
    if trainer.is_global_zero:
        torch.save(module.state_dict(), out)
