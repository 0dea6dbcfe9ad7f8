"""Network inputs other than noise: pixel positions, or the back-projected measurement."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from metadip.registry import registered
from metadip.types import InverseProblem


class NetworkInput(Protocol):
    """Make z; ``Latent`` is the usual one."""

    channels: int
    description: dict[str, Any]

    def redraw(self, seed: int, size_px: int | None = None) -> None:
        """Redraw everything random."""
        ...

    def of(self, problem: InverseProblem) -> Tensor:
        """Return z (1, Cz, H, W) for the image of a problem."""
        ...


@registered("coordinates")
class Coordinates(nn.Module):
    """Return the position of every pixel, the input of a coordinate network such as ``Siren``.

    Model:
        Row and column of the pixel's centre, from -1 to 1 along the longer side of the image.
    Shape:
        ``of`` -> (1, 2, H, W).
    """

    description: dict[str, Any]

    channels = 2

    def __init__(self) -> None:
        super().__init__()

    def redraw(self, seed: int, size_px: int | None = None) -> None:
        """Nothing here is random."""

    def of(self, problem: InverseProblem) -> Tensor:
        """See ``NetworkInput.of``."""
        _, height, width = problem.image_shape
        longer = max(height, width)
        rows, columns = (
            (2 * torch.arange(n, dtype=torch.float64) + 1 - n) / longer for n in (height, width)
        )
        grid = torch.meshgrid(rows, columns, indexing="ij")
        double = problem.y.dtype in (torch.float64, torch.complex128)
        return torch.stack(grid)[None].to(
            problem.y.device, torch.float64 if double else torch.float32
        )


@registered("meshgrid")
class Meshgrid(nn.Module):
    """Return the position of every pixel, the smooth input of the deep image prior for large holes.

    Model:
        Column and row of the pixel, each from 0 at the first to 1 at the last.
    Shape:
        ``of`` -> (1, 2, H, W).
    References:
        Ulyanov, Vedaldi, Lempitsky (2018), Deep Image Prior, arXiv:1711.10925.
    """

    description: dict[str, Any]

    channels = 2

    def __init__(self) -> None:
        super().__init__()

    def redraw(self, seed: int, size_px: int | None = None) -> None:
        """Nothing here is random."""

    def of(self, problem: InverseProblem) -> Tensor:
        """See ``NetworkInput.of``."""
        _, height, width = problem.image_shape
        rows, columns = (torch.linspace(0, 1, n, device=problem.y.device) for n in (height, width))
        grid = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack([grid[1], grid[0]])[None]


@registered("back_projection")
class BackProjection(nn.Module):
    """Return A^T y, which is y itself in denoising: the input of a supervised denoiser.

    Shape:
        ``of`` -> (1, channels, H, W).
    Args:
        channels: of the images.
    Raises:
        ValueError: When used, if the operator of the problem has no adjoint.
    References:
        Barbano et al. (2021), An Educated Warm Start for Deep Image Prior-based Micro CT
        Reconstruction, arXiv:2111.11926 (a network trained on such inputs, then fitted).
    """

    description: dict[str, Any]

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def redraw(self, seed: int, size_px: int | None = None) -> None:
        """Nothing here is random."""

    def of(self, problem: InverseProblem) -> Tensor:
        """See ``NetworkInput.of``."""
        if not hasattr(problem.physics, "A_adjoint"):
            raise ValueError(
                f"{type(problem.physics).__name__} has no adjoint, which this prior's input needs: "
                "it serves linear tasks such as denoise and cs"
            )
        with torch.no_grad():
            z: Tensor = problem.scale**2 * problem.physics.A_adjoint(problem.y)
        return z
