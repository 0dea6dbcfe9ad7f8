"""Super-resolution: factors, scale, small images as measurements, refusals."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from metadip.report.figures import save_image
from metadip.tasks import SuperResolutionTask, load_measurement
from metadip.types import UserError

TASK = SuperResolutionTask(4, kernel="bicubic", noise_std=0.02)


def picture(*shape: int) -> Tensor:
    return torch.rand((1, *shape), generator=torch.Generator().manual_seed(0))


def test_each_image_draws_its_factor() -> None:
    task = SuperResolutionTask([2, 4, 8], kernel="lanczos2", noise_std=0.0)
    problems = [task.measure(picture(1, 16, 8), seed=seed) for seed in range(40)]
    assert {problem.scale for problem in problems} == {2.0, 4.0, 8.0}
    for problem in problems:
        height, width = problem.y.shape[-2:]
        assert (height * problem.scale, width * problem.scale) == (16, 8)
    assert task.measure(picture(1, 16, 8), seed=3).y.shape == problems[3].y.shape
    task.check_size((3, 16, 24))
    with pytest.raises(UserError, match=r"task\.factor=8 does not divide an image of 20 x 16 px"):
        task.check_size((3, 16, 20))


def test_a_small_image_file_is_a_measurement(tmp_path: Path) -> None:
    save_image(tmp_path / "small.png", picture(3, 5, 7))
    problem = load_measurement(tmp_path / "small.png", TASK)
    assert problem.image_shape == (3, 20, 28)
    assert (problem.scale, problem.physics.kernel) == (4.0, "bicubic")
    assert problem.physics.A(torch.zeros(1, 3, 20, 28)).shape == problem.y.shape == (1, 3, 5, 7)
    several = SuperResolutionTask([2, 4], kernel="bicubic", noise_std=0.0)
    with pytest.raises(UserError, match=r"task\.factor=\[2, 4\] must be one number for a measur"):
        load_measurement(tmp_path / "small.png", several)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"factor": 1}, "factor must be at least 2, got 1"),
        ({"factor": 2.5}, "factor must be a whole number, got 2.5"),
        ({"kernel": "box"}, "kernel is 'box'; choose from lanczos2, bicubic"),
        ({"y": 255 * picture(3, 4, 4)[0]}, "scale it to"),
        ({"x": picture(3, 4, 4)[0]}, r"x must have the image's shape \(3, 16, 16\)"),
    ],
)
def test_bad_file(content: dict[str, Any], text: str, tmp_path: Path) -> None:
    torch.save({"y": picture(3, 4, 4)[0]} | content, tmp_path / "a.pt")
    with pytest.raises(UserError, match=text) as caught:
        load_measurement(tmp_path / "a.pt", TASK)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"factor": 1}, r"task\.factor=1 must be a whole number from 2 to 16, or a list of them"),
        ({"factor": 2.5}, r"task\.factor=2\.5 must be"),
        ({"factor": []}, r"task\.factor=\[\] must be"),
        ({"factor": [2, 32]}, r"task\.factor=\[2, 32\] must be"),
        ({"factor": True}, r"task\.factor=True must be"),
        ({"kernel": "lanczos"}, r"task\.kernel=lanczos is unknown; did you mean lanczos2\? choose"),
        ({"noise_std": 5}, r"task\.noise_std=5 must satisfy"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {"factor": 4, "kernel": "lanczos2", "noise_std": 0.0} | changes
    with pytest.raises(UserError, match=text):
        SuperResolutionTask(**arguments)
