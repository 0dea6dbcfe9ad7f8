"""What a fit minimises: a data term and total variation, one value per image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DATA_TERMS = ("mse", "l1", "huber")


def total_variation(x: Tensor) -> Tensor:
    """Return the anisotropic total variation of each image per pixel and channel.

    Shape:
        (B, C, H, W) -> (B,).
    """
    from kornia.losses import total_variation as kornia_total_variation

    per_channel = kornia_total_variation(x, reduction="sum")  # (B, C) in kornia 0.9, (B,) before
    return per_channel.reshape(len(x), -1).sum(dim=1) / x[0].numel()


class DataObjective:
    """Compare measurements, and prefer images of small total variation.

    Model:
        (1/n) sum_i rho(y_hat_i - y_i) + tv_weight * TV(x_hat), with n the number of pixels and
        channels of the image (not of measurements) and rho the square, the absolute value, or
        Huber's function. With an operator scaled so that E||A x||^2 = ||x||^2 the same step sizes
        then serve every task.
    Shape:
        x_hat (B, C, H, W), y_hat and y (B, ...) -> (B,).
    Args:
        data_term: "mse", "l1" or "huber".
        tv_weight: weight of the mean anisotropic total variation, at least 0.
        huber_delta: where Huber's function turns from square to linear; used by "huber" alone.
    Raises:
        ValueError: unknown ``data_term``, negative ``tv_weight``, ``huber_delta`` not above 0; or,
            when called, measurements of different shapes.
    References:
        Zhang et al. (2022), MetaDIP, arXiv:2209.08452, section 2.
    """

    def __init__(self, data_term: str, *, tv_weight: float, huber_delta: float) -> None:
        if data_term not in DATA_TERMS:
            raise ValueError(f"data_term must be one of {DATA_TERMS}, got {data_term!r}")
        if tv_weight < 0 or huber_delta <= 0:
            raise ValueError(
                f"need tv_weight >= 0 and huber_delta > 0, got {tv_weight} and {huber_delta}"
            )
        self.data_term, self.tv_weight, self.huber_delta = data_term, tv_weight, huber_delta

    @property
    def description(self) -> dict[str, str | float]:
        """The arguments, as a checkpoint keeps them."""
        return {
            "data_term": self.data_term,
            "tv_weight": self.tv_weight,
            "huber_delta": self.huber_delta,
        }

    def __call__(self, x_hat: Tensor, y_hat: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each image."""
        if y_hat.shape != y.shape:
            raise ValueError(
                f"the operator gives measurements {tuple(y_hat.shape)}, y has {tuple(y.shape)}"
            )
        if y.is_complex():
            y_hat, y = torch.view_as_real(y_hat), torch.view_as_real(y)
        loss = self._penalty(y_hat, y).flatten(1).sum(dim=1) / x_hat[0].numel()
        return loss + self.tv_weight * total_variation(x_hat) if self.tv_weight else loss

    def _penalty(self, y_hat: Tensor, y: Tensor) -> Tensor:
        if self.data_term == "mse":
            return (y_hat - y).square()
        if self.data_term == "l1":
            return (y_hat - y).abs()
        return F.huber_loss(y_hat, y, reduction="none", delta=self.huber_delta)
