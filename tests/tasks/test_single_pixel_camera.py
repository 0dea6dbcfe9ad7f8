"""The single-pixel camera: patterns, counts, files, refusals."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from metadip.physics.single_pixel import HadamardSensing, SignSensing
from metadip.tasks import SinglePixelTask, load_measurement, save_measurement
from metadip.types import UserError

SHAPE = (2, 8, 16)


def picture(*shape: int) -> Tensor:
    return torch.rand((1, *(shape or SHAPE)), generator=torch.Generator().manual_seed(0))


def task(patterns: str = "hadamard", ratio: Any = 0.25) -> SinglePixelTask:
    return SinglePixelTask(ratio, patterns=patterns, noise_std=0.0)


def test_hadamard_patterns_are_signs_smoothest_first() -> None:
    op = HadamardSensing((1, 4, 8), n_measurements=32)
    rows = op.A(torch.eye(32).reshape(32, 1, 4, 8))[:, 0].T
    torch.testing.assert_close(rows @ rows.T, torch.eye(32), rtol=0, atol=1e-6)
    signs = rows * math.sqrt(32)
    torch.testing.assert_close(signs.abs(), torch.ones(32, 32))
    images = signs.reshape(32, 4, 8)
    changes = (images[:, :, 1:] * images[:, :, :-1] < 0)[:, 0].sum(-1)
    changes = changes + (images[:, 1:] * images[:, :-1] < 0)[:, :, 0].sum(-1)
    assert changes.tolist() == sorted(changes.tolist())
    assert changes[0] == 0


def test_few_smooth_patterns_hold_most_of_an_image() -> None:
    smooth = torch.linspace(0, 1, 32)[:, None] * torch.linspace(1, 0, 32)
    y = HadamardSensing((1, 32, 32), n_measurements=64).A(smooth[None, None])
    assert y.square().sum() > 0.97 * smooth.square().sum()


def test_random_patterns_have_as_many_of_either_sign() -> None:
    patterns = SignSensing((1, 32, 32), n_measurements=100, seed=0).patterns * 10
    assert set(patterns.round().unique().tolist()) == {-1.0, 1.0}
    assert abs(patterns.mean()) < 4 / math.sqrt(patterns.numel())


@pytest.mark.parametrize("patterns", ["hadamard", "random"])
def test_counts_and_ratios(patterns: str) -> None:
    assert task(patterns).measure(picture(), seed=0).y.shape == (1, 2, 32)
    assert task(patterns, 1).measure(picture(3, 5, 7), seed=0).y.shape == (1, 3, 35)
    assert task(patterns, 1e-6).measure(picture(), seed=0).y.shape == (1, 2, 1)
    drawn = [task(patterns, [0.1, 1.0]).measure(picture(), seed=s).y.shape[2] for s in range(30)]
    assert min(drawn) < 45
    assert max(drawn) > 100


def test_all_hadamard_patterns_determine_the_image() -> None:
    problem = task(ratio=1.0).measure(picture(), seed=0)
    torch.testing.assert_close(problem.physics.A_adjoint(problem.y), picture())


def test_patterns_of_a_user(tmp_path: Path) -> None:
    matrix = 5 * torch.randn(30, 128, generator=torch.Generator().manual_seed(1))
    y = picture()[0].flatten(1) @ matrix.T
    torch.save({"y": y, "A": matrix, "image_shape": SHAPE}, tmp_path / "a.pt")
    problem = load_measurement(tmp_path / "a.pt", task())
    torch.testing.assert_close(problem.physics.A(picture()), problem.y)
    assert problem.scale == pytest.approx(math.sqrt(128) / matrix.norm().item())
    save_measurement(tmp_path / "b.npz", problem)
    again = load_measurement(tmp_path / "b.npz", task())
    torch.testing.assert_close(again.physics.patterns, matrix)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"y": torch.zeros(3, 30)}, r"y must have shape \(2, M\), got \(3, 30\)"),
        ({"y": torch.zeros(2, 200)}, "y has 200 values for 128 pixels: too many"),
        ({"A": torch.zeros(30, 128)}, r"A must have shape \(30, 128\) and not be zero"),
        ({"A": torch.ones(30, 100)}, r"A must have shape \(30, 128\) and not be zero, got \(30, 1"),
        ({"patterns": "random"}, "seed is missing"),
        ({"patterns": "cake"}, "patterns is 'cake'; choose from hadamard, random"),
    ],
)
def test_bad_file(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    torch.save({"y": torch.zeros(2, 30), "image_shape": SHAPE} | changes, tmp_path / "a.pt")
    with pytest.raises(UserError, match=text):
        load_measurement(tmp_path / "a.pt", task())


def test_bad_arguments() -> None:
    for ratio in (0, 1.5, "half"):
        with pytest.raises(UserError, match=r"task\.ratio=.* must be a number above 0 and at most"):
            task(ratio=ratio)
    with pytest.raises(UserError, match=r"task\.patterns=hadamrad is unknown; did you mean hadama"):
        task("hadamrad")
    with pytest.raises(UserError, match=r"random patterns for 512 x 512 px need 68\.7 GB: use"):
        task("random").check_size((3, 512, 512))
    task().check_size((3, 4096, 4096))
