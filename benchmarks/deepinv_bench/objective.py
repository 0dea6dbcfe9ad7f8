"""What is asked of a solver: mean PSNR and SSIM of its model on measurements of the images."""

from __future__ import annotations

from typing import Any, ClassVar

import deepinv
from benchopt import BaseObjective
from torch.utils.data import DataLoader


class BackProjection:
    """The model that benchopt tries the objective with."""

    def eval(self) -> None:
        """Do nothing."""

    def __call__(self, y: Any, physics: Any) -> Any:
        """Return A^T y."""
        return physics.A_adjoint(y)


class Objective(BaseObjective):  # type: ignore[misc]  # benchopt has no types
    """Reconstruction of local images, in the form of deepinv's benchmarks."""

    name = "Local images"
    url = "https://github.com/deepinv/benchmarks"
    requirements: ClassVar = ["pip::deepinv"]
    min_benchopt_version = "1.8"
    sampling_strategy = "run_once"

    def set_data(self, dataset: Any, physics: Any) -> None:
        """Take over what a dataset gives."""
        self.dataset, self.physics = dataset, physics

    def get_objective(self) -> dict[str, Any]:
        """Return what solvers are told."""
        return {"train_dataset": self.dataset, "physics": self.physics}

    def evaluate_result(self, model: Any) -> Any:
        """Measure each image, reconstruct it, and return mean and spread of the scores."""
        device = getattr(model, "device", None)
        return deepinv.test(
            model, DataLoader(self.dataset), self.physics.to(device), online_measurements=True,
            device=device, metrics=[deepinv.loss.PSNR(), deepinv.loss.SSIM()],
            compare_no_learning=False, verbose=False, show_progress_bar=False,
        )  # fmt: skip

    def get_one_result(self) -> dict[str, Any]:
        """Return a result to try the objective with."""
        return {"model": BackProjection()}
