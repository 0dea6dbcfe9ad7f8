"""The objective of SelfDeblur: squared error at first, then structural similarity."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metadip.fitting.objectives import mse
from metadip.metrics import SSIM_WINDOW_PX, ssim
from metadip.registry import registered
from metadip.types import Look


@registered("mse_then_ssim")
@dataclass(frozen=True)
class MSEThenSSIM:
    """Compare measurements by their squared error, and later by 1 - SSIM.

    Safeguards watch the squared error throughout. Measurements smaller than the window of SSIM,
    11 px, are compared by squared error alone.

    Args:
        at_step: first step that is judged by structure, at least 0; 1000 or 500 in the authors'
            code.
    Raises:
        ValueError: If ``at_step`` is negative.
    References:
        Ren et al. (2020), Neural Blind Deconvolution Using Deep Priors, arXiv:1908.02197.
    """

    at_step: int

    def __post_init__(self) -> None:
        """Check the range."""
        if self.at_step < 0:
            raise ValueError(f"at_step must be at least 0, got {self.at_step}")

    def __call__(self, look: Look) -> Tensor:
        """Return the objective of each image."""
        if look.step < self.at_step or min(look.y.shape[-2:]) < SSIM_WINDOW_PX:
            return mse(look)
        scales = look.y.new_tensor([problem.scale for problem in look.problems])[
            :, None, None, None
        ]
        return 1 - ssim(look.y_hat / scales, look.y / scales)
