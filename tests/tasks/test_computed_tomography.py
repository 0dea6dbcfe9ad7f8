"""Tomography: angles, units, files, refusals."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from metadip.tasks import TomographyTask, load_measurement
from metadip.types import UserError

SHAPE = (1, 16, 12)


def picture(*shape: int) -> Tensor:
    return torch.rand((1, *(shape or SHAPE)), generator=torch.Generator().manual_seed(0))


def task(angles: Any = 6, noise_std: Any = 0.0) -> TomographyTask:
    return TomographyTask(angles, noise_std=noise_std)


def test_angles() -> None:
    even = task(3).measure(picture(), seed=0)
    listed = task([0, 60.0, 120.0]).measure(picture(), seed=0)
    torch.testing.assert_close(even.y, listed.y)
    assert even.y.shape == (1, 1, 23, 3)
    assert even.physics.angles_deg == (0.0, 60.0, 120.0)


def test_a_ray_through_white_measures_the_length_it_travels() -> None:
    y = task([0, 45, 90]).measure(torch.ones(1, 1, 33, 33), seed=0).y[0, 0]
    middle = y[len(y) // 2]
    assert middle.tolist() == pytest.approx([1, 2**0.5, 1], abs=0.05)
    narrow = task([0, 90]).measure(torch.ones(1, 1, 32, 16), seed=0).y[0, 0]
    assert narrow[len(narrow) // 2].tolist() == pytest.approx([1, 0.5], abs=0.05)
    assert narrow.sum(0).tolist() == pytest.approx([16, 16], rel=0.01)


def test_each_angle_sees_the_mass_of_the_image() -> None:
    y = task(7).measure(picture(2, 24, 24), seed=0).y
    mass = picture(2, 24, 24).sum((2, 3))[..., None] / 24
    torch.testing.assert_close(y.sum(2), mass.expand(-1, -1, 7), rtol=0.02, atol=0)


def write(folder: Path, **changes: Any) -> Path:
    problem = task().measure(picture(), seed=0)
    content = {"y": problem.y[0], "image_shape": SHAPE} | changes
    torch.save({k: v for k, v in content.items() if v is not None}, folder / "scan.pt")
    return folder / "scan.pt"


def test_angles_of_the_file_come_before_those_of_the_task(tmp_path: Path) -> None:
    angles = torch.tensor([0.0, 10, 20, 30, 40, 50])
    found = load_measurement(write(tmp_path, angles=angles), task(40))
    assert found.physics.angles_deg == (0.0, 10.0, 20.0, 30.0, 40.0, 50.0)
    assert load_measurement(write(tmp_path), task(6)).physics.angles_deg[1] == 30.0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image_shape": None}, r"image_shape is missing \(C, H, W of the unknown image\)"),
        ({"angles": torch.zeros(0)}, "angles is empty: give the directions of y in degrees"),
        ({"angles": torch.zeros(5)}, r"y must have shape \(1, 23, 5\) \(C, detectors, angles\) by"),
        ({"y": torch.zeros(1, 16, 6)}, r"y must have shape \(1, 23, 6\) .* got \(1, 16, 6\)"),
    ],
)
def test_bad_file(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=text) as caught:
        load_measurement(write(tmp_path, **changes), task())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("angles", [0, -3, [], 2.5, True, [0, float("nan")], "all", None])
def test_bad_angles(angles: Any) -> None:
    with pytest.raises(UserError, match=r"task\.angles=.* must be a number of directions of at le"):
        task(angles)
