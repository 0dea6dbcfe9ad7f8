"""Fits inside Lightning's predict; as a script it shards them over processes."""

import sys
from pathlib import Path
from typing import Any

import torch

from metadip.callbacks import FitCallback
from metadip.fitting import Adam
from metadip.methods import FitModule, FitReconstructor
from metadip.types import FitResult
from tests.fitting.tiny import MSE, tiny_prior
from tests.meta.tiny_training import tiny_data, tiny_trainer


def tiny_method(**options: Any) -> FitReconstructor:
    """Return vanilla DIP with a few steps of Adam."""
    defaults: dict[str, Any] = {"objective": MSE, "optimizer": Adam(lr=0.02), "steps": 3}
    prior = options.pop("prior", None) or tiny_prior(learned=False)
    return FitReconstructor(prior, **{**defaults, **options})


def double_method() -> FitReconstructor:
    """Return the same for images in float64, as ``tiny_data`` gives them."""
    return tiny_method(prior=tiny_prior(learned=False).double())


class KeepResults(FitCallback):
    """Collect the results of this process, by name."""

    def __init__(self) -> None:
        self.results: dict[str, FitResult] = {}

    def on_predict_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self.results |= {p.name: result for p, result in zip(batch, outputs, strict=True)}


if __name__ == "__main__":  # FOLDER DEVICES
    torch.set_num_threads(1)
    folder, devices, keep = Path(sys.argv[1]), int(sys.argv[2]), KeepResults()
    trainer = tiny_trainer(folder, devices=devices, strategy="ddp", callbacks=[keep])
    trainer.predict(FitModule(double_method()), tiny_data(), return_predictions=False)
    images = {name: result.x_hat for name, result in keep.results.items()}
    torch.save(images, folder / f"rank{trainer.global_rank}.pt")
