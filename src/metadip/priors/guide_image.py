"""A second picture of the scene as the input of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metadip.data import read_image
from metadip.registry import registered
from metadip.types import InverseProblem, UserError

CHANNELS = 3


@registered("guide_image")
class GuideImage(nn.Module):
    """Return another picture of the same scene, as the flash photograph of a pair without and with.

    The network then takes its edges from the guide, and its light from the measurement.

    Shape:
        ``of`` -> (1, 3, H, W), values in [0, 1].
    Args:
        file: the picture, in any common format; grey ones are repeated.
    Raises:
        UserError: When used, if the file cannot be read, or is not of the size of the image.
    References:
        Ulyanov, Vedaldi, Lempitsky (2018), Deep Image Prior, arXiv:1711.10925 (flash / no-flash).
    """

    description: dict[str, Any]

    channels = CHANNELS

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def redraw(self, seed: int, size_px: int | None = None) -> None:
        """Nothing here is random."""

    def of(self, problem: InverseProblem) -> Tensor:
        """See ``NetworkInput.of``."""
        z = read_image(Path(self.file), channels=CHANNELS)[None]
        if z.shape[2:] != problem.image_shape[1:]:
            raise UserError(
                f"prior.latent.file={self.file} is {z.shape[3]}x{z.shape[2]} px, the image "
                f"{problem.image_shape[2]}x{problem.image_shape[1]}: a guide must fit it pixel "
                "by pixel"
            )
        double = problem.y.dtype in (torch.float64, torch.complex128)
        return z.to(problem.y.device, torch.float64 if double else torch.float32)
