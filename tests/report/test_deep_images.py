"""Depth of images: how it is told, and TIFF that other programs read."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor

from metadip.data import read_image
from metadip.report import ResultWriter
from metadip.report.deep_images import depth_of, save_deep_image
from metadip.types import FitResult, InverseProblem
from tests.callbacks.scripted import without_physics

SHAPE = (3, 8, 6)


def levels(most: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, most + 1, (1, *SHAPE), generator=generator) / most


def problem_of(x: Tensor | None, y: Tensor) -> InverseProblem:
    (problem,) = without_physics([None], SHAPE)
    return replace(problem, x=x, y=y)


def test_depth_is_told_by_the_values() -> None:
    noisy = levels(255) + 0.1 * torch.randn(1, *SHAPE)
    assert [depth_of(problem_of(levels(m), noisy)) for m in (255, 65535)] == [8, 16]
    assert depth_of(problem_of(torch.rand(1, *SHAPE), noisy)) == 8  # resized
    assert [depth_of(problem_of(None, levels(m))) for m in (255, 65535)] == [8, 16]
    assert depth_of(problem_of(None, noisy)) == 32
    assert depth_of(problem_of(None, torch.rand(1, 70))) == 8  # no image


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiff_comes_back(channels: int, tmp_path: Path) -> None:
    x = 1.5 * torch.rand(1, channels, 8, 6) - 0.25
    for bits in (16, 32):
        save_deep_image(tmp_path / f"{bits}.tiff", x, bits=bits)
    deep, floats = (tifffile.imread(tmp_path / f"{bits}.tiff") for bits in (16, 32))
    assert [str(pixels.dtype) for pixels in (deep, floats)] == ["uint16", "float32"]
    expected = x[0].permute(1, 2, 0) if channels == 3 else x[0].squeeze(0)
    np.testing.assert_array_equal(floats, expected.numpy())
    np.testing.assert_allclose(deep / 65535, expected.clamp(0, 1).numpy(), atol=1e-5)
    if channels in (1, 3):
        again = read_image(tmp_path / "16.tiff", channels=None)
        torch.testing.assert_close(again, x[0].clamp(0, 1), rtol=0, atol=1e-5)


def test_the_writer_leaves_it_beside_the_picture(tmp_path: Path) -> None:
    result = FitResult(torch.rand(1, *SHAPE), 1, None, None, 0.1, {"loss": torch.ones(2)})
    writer = ResultWriter(tmp_path, single=True)
    for most, there in ((65535, True), (255, False)):
        writer.write(problem_of(levels(most), levels(255)), result)
        assert (tmp_path / "reconstruction.tiff").exists() == there
    assert not math.isnan(read_image(tmp_path / "reconstruction.png").sum())
