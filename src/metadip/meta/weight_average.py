"""A moving average of everything meta-training learns, which is validated, kept and released."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class WeightAverage(WeightAveraging):
    """Average weights, step sizes and momentum over the outer steps, without affecting training.

    Model:
        After outer step n: a <- d a + (1 - d) theta, d = min(decay, n / (n + 9)). The short memory
        at the beginning forgets the untrained start. Validation, the ``state_dict`` of a checkpoint
        and the released prior use a; ``current_model_state`` of a checkpoint holds theta.
    Args:
        decay: in [0, 1); the average spans about 1 / (1 - decay) outer steps.
    Raises:
        ValueError: If ``decay`` is outside [0, 1).
    References:
        Tarvainen and Valpola (2017), Mean teachers, arXiv:1703.01780.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")

        def average(averaged: Tensor, current: Tensor, count: Tensor) -> Tensor:
            share = (count / (count + 9)).clamp(max=decay)
            return current + share * (averaged - current)

        super().__init__(use_buffers=False, avg_fn=average)  # buffers are counters, so copied
        self.swapped = False

    def tensors(self) -> dict[str, Tensor]:
        """Return the average and the number of steps in it, by name."""
        assert self._average_model is not None
        named = dict(self._average_model.named_parameters(prefix="average"))
        return {**named, "average.count": self._average_model.n_averaged}

    def _swap_models(self, pl_module: pl.LightningModule) -> None:
        super()._swap_models(pl_module)
        self.swapped = not self.swapped

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Undo the swap of an interrupted validation, so that a checkpoint saved now is correct."""
        if self.swapped:
            self._swap_models(pl_module)
