"""Shrinking images: against MATLAB's imresize, PyTorch and the definition of lanczos2."""

import math

import pytest
import torch
import torch.nn.functional as F
from deepinv.physics.functional import imresize_matlab
from torch import Tensor

from metadip.physics.downsampling import SeparableDownsampling
from metadip.physics.scaling import operator_scale
from metadip.types import UserError

SHAPE = (2, 24, 48)


def picture(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand((1, *(shape or SHAPE)), dtype=torch.float64, generator=generator)


def lanczos_by_hand(x: Tensor, factor: int) -> Tensor:
    """Shrink as arXiv:1711.10925 does: a kernel of 4f x 4f, replicated edges, a stride."""
    t = (torch.arange(4 * factor).double() - 2 * factor + 0.5) / factor
    line = torch.tensor(
        [2 * math.sin(math.pi * v) * math.sin(math.pi * v / 2) / (math.pi * v) ** 2 for v in t]
    ).double()
    kernel = torch.outer(line, line) / line.sum() ** 2
    pad = 3 * factor // 2
    padded = F.pad(x, (pad, pad, pad, pad), mode="replicate")
    channels = [F.conv2d(c[None], kernel[None, None], stride=factor) for c in padded.split(1, 1)[0]]
    return torch.cat(channels, 1)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_lanczos2_is_that_of_the_deep_image_prior(factor: int) -> None:
    x = picture(1, 24, 48)
    op = SeparableDownsampling((1, 24, 48), factor=factor, kernel="lanczos2").double()
    torch.testing.assert_close(op.A(x), lanczos_by_hand(x, factor), rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_bicubic_is_that_of_matlab(factor: int) -> None:
    x = picture()
    op = SeparableDownsampling(SHAPE, factor=factor, kernel="bicubic").double()
    torch.testing.assert_close(op.A(x), imresize_matlab(x, scale=1 / factor), rtol=0, atol=1e-6)
    inner = F.interpolate(x, scale_factor=1 / factor, mode="bicubic", antialias=True)
    margin = slice(2, -2)
    if factor < 8:
        torch.testing.assert_close(
            op.A(x)[..., margin, margin], inner[..., margin, margin], rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("kernel", ["lanczos2", "bicubic"])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_scale_keeps_the_energy_of_smooth_images(kernel: str, factor: int) -> None:
    op = SeparableDownsampling((3, 64, 64), factor=factor, kernel=kernel)
    assert operator_scale(op, (3, 64, 64), like=torch.zeros(1)) == pytest.approx(factor, rel=0.15)
    norms = [torch.linalg.matrix_norm(matrix, 2).item() for matrix in (op.rows, op.columns)]
    assert 0.95 < factor * norms[0] * norms[1] < 1.3
    flat = torch.full((1, 3, 64, 64), 0.3)
    torch.testing.assert_close(op.A(flat), torch.full((1, 3, 64 // factor, 64 // factor), 0.3))


def test_factor_that_does_not_divide() -> None:
    with pytest.raises(UserError, match=r"task\.factor=4 does not divide an image of 18 x 16 px: "):
        SeparableDownsampling((3, 16, 18), factor=4, kernel="lanczos2")
