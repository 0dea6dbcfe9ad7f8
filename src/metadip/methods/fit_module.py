"""Fits inside Lightning's predict, which shards over devices, shows progress and logs."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

from metadip.callbacks import FitCallback
from metadip.methods.exact_data import with_exact_data
from metadip.methods.method import Method
from metadip.methods.trust import with_trust
from metadip.types import FitResult, InverseProblem


def starts_learned(method: Method) -> bool:
    """Return whether a method fits from a learned prior."""
    prior = getattr(method, "prior", None)
    return prior is not None and bool(prior.learned)


class FitModule(pl.LightningModule):
    """Solve each problem of a predict batch, watched by the trainer's ``FitCallback`` callbacks.

    Shape:
        A batch is a list of ``InverseProblem``; a prediction is a list of ``FitResult``.
    Args:
        method: the reconstruction method.
        exact: see ``with_exact_data``; images are clipped to [0, 1] unless they are read otherwise.
        trust: check results of learned priors, see ``with_trust``: True compares with total
            variation where the noise is not known, None with the noise alone.
    """

    def __init__(
        self, method: Method, *, exact: bool | None = None, trust: bool | None = None
    ) -> None:
        super().__init__()
        self.method, self.exact, self.trust = method, exact, trust

    def predict_step(self, batch: list[InverseProblem], batch_idx: int) -> list[FitResult]:
        """Solve the problems; no process waits for another."""
        hooks = [hook for hook in self.trainer.callbacks if isinstance(hook, FitCallback)]  # type: ignore[attr-defined]
        results = self.method.reconstruct(batch, hooks=hooks)
        return [self._checked(*pair) for pair in zip(batch, results, strict=True)]

    def _checked(self, problem: InverseProblem, result: FitResult) -> FitResult:
        """Judge a result as the fit left it, then make it agree with y where y is exact."""
        if self.trust is not False and starts_learned(self.method):
            result = with_trust(problem, result, tv=bool(self.trust))
        clip = problem.reading is None and problem.image_shape[0] in (1, 3)
        return with_exact_data(problem, result, exact=self.exact, clip=clip)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move problems to the device, operators included."""
        if isinstance(batch, list) and all(
            isinstance(problem, InverseProblem) for problem in batch
        ):
            return [problem.to(device) for problem in batch]
        return super().transfer_batch_to_device(batch, device, dataloader_idx)
