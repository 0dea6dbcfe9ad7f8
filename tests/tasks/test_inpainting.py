"""Inpainting: the mask, its scale, what a user sees, and measurement files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metadip.report.figures import comparison_panels
from metadip.tasks import DenoisingTask, InpaintingTask, load_measurement, save_measurement
from metadip.tasks.inpainting import draw_mask
from metadip.types import InverseProblem, UserError

SHAPE = (3, 5, 6)
TASK = InpaintingTask(0.5, noise_std=0.1, per_channel=False)
every_suffix = pytest.mark.parametrize("suffix", [".pt", ".npz"])


def picture(*shape: int) -> Tensor:
    return torch.rand((1, *(shape or SHAPE)), generator=torch.Generator().manual_seed(0)) + 0.1


def measured(ratio: float = 0.5, noise_std: float = 0.0, **changes: Any) -> InverseProblem:
    x = changes.pop("x", picture())
    arguments = {"per_channel": False, "seed": 3} | changes
    task = InpaintingTask(ratio, noise_std=noise_std, per_channel=arguments["per_channel"])
    return task.measure(x, seed=arguments["seed"])


def kept(problem: InverseProblem) -> Tensor:
    return problem.y != 0


def test_measures_what_denoising_would_where_pixels_are_kept() -> None:
    x = picture()
    noisy = DenoisingTask(0.1, clip=False).measure(x, seed=3).y
    problem = measured(noise_std=0.1)
    torch.testing.assert_close(problem.y, noisy * kept(problem))
    torch.testing.assert_close(measured(1.0, noise_std=0.1).y, noisy, rtol=0, atol=0)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("per_channel", [False, True])
def test_scale_keeps_energy(ratio: float, per_channel: bool) -> None:
    problem = measured(ratio, per_channel=per_channel)
    mask = problem.physics.A(torch.ones(1, *SHAPE))  # the diagonal of A
    assert (problem.scale * mask).square().sum().item() == pytest.approx(90, rel=1e-5)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert set(problem.physics.mask.unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(problem.physics.A_adjoint(mask), mask.square())


def test_step_is_that_of_denoising_on_average() -> None:
    x = picture(1, 4, 4)
    problems = [measured(0.5, x=x, seed=s) for s in range(600)]
    steps = [p.scale**2 * p.physics.A_adjoint(p.y) for p in problems]
    torch.testing.assert_close(torch.cat(steps).mean(0), x[0], rtol=0.2, atol=0)


def test_ratio_is_the_share_that_is_kept() -> None:
    few, many = (draw_mask((1, 100, 100), ratio=r, seed=1) for r in (0.3, 0.6))
    for mask, ratio in ((few, 0.3), (many, 0.6)):
        assert mask.mean().item() == pytest.approx(ratio, abs=4 * (0.25 / 10000) ** 0.5)
    assert bool((many >= few).all())
    assert draw_mask((1, 3, 3), ratio=1e-9, seed=0).sum() == 1
    assert draw_mask((1, 50, 50), ratio=1, seed=0).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels_share_the_mask_or_not(channels: int) -> None:
    x = picture(channels, 9, 8)
    shared, own = (kept(measured(x=x, per_channel=per_channel))[0] for per_channel in (False, True))
    assert bool((shared == shared[:1]).all())
    assert bool((own == own[:1]).all()) == (channels == 1)


def test_vmap() -> None:
    problem = measured()
    images = torch.rand(4, 1, *SHAPE)
    expected = problem.physics.A(images[:, 0])
    torch.testing.assert_close(torch.func.vmap(problem.physics.A)(images)[:, 0], expected)


def test_picture_shows_the_image_as_it_was_taken() -> None:
    problem = measured()
    assert problem.x is not None
    panels = comparison_panels(problem, problem.x)
    title, shown = panels[1]
    taken = problem.x * kept(problem)
    torch.testing.assert_close(shown, taken[0])
    psnr = -10 * (taken - problem.x).square().mean().log10().item()
    assert title == f"measured, {psnr:.2f} dB"


@every_suffix
@pytest.mark.parametrize("per_channel", [False, True])
def test_saved_problem_comes_back(per_channel: bool, suffix: str, tmp_path: Path) -> None:
    problem = measured(noise_std=0.1, per_channel=per_channel)
    assert problem.x is not None
    path = tmp_path / f"scan{suffix}"
    save_measurement(path, problem)
    loaded = load_measurement(path, TASK)
    torch.testing.assert_close(loaded.y, problem.y)
    torch.testing.assert_close(loaded.physics.mask, problem.physics.mask)
    assert loaded.scale == problem.scale
    sigma = problem.physics.noise_model.sigma
    torch.testing.assert_close(loaded.physics.noise_model.sigma, sigma)
    torch.testing.assert_close(loaded.x, problem.x)


def write(path: Path, **changes: Any) -> Path:
    mask = np.zeros(SHAPE[1:], dtype=np.uint8)
    mask[:2] = 1
    content = {"y": np.full(SHAPE, 0.7, dtype=np.float32), "mask": mask} | changes
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def test_file_of_a_user(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", noise_std=0.2)
    problem = load_measurement(path, TASK)
    expected = torch.zeros(1, *SHAPE)
    expected[:, :, :2] = 0.7  # what stands at lost pixels is not read
    torch.testing.assert_close(problem.y, expected)
    assert problem.scale == pytest.approx(2.5**0.5)  # 12 of 30 pixels
    assert problem.physics.mask.unique().tolist() == [0.0, 1.0]
    assert problem.physics.noise_model.sigma == pytest.approx(0.2)
    path = write(tmp_path / "b.npz", mask=np.ones(SHAPE, dtype=bool))
    again = load_measurement(path, TASK)
    assert again.scale == 1
    assert again.physics.noise_model.sigma == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mask": None}, r"mask is missing \(1 where a value of y was observed, 0 where it was"),
        ({"mask": np.ones((6, 5))}, r"mask must have shape \(5, 6\) or \(3, 5, 6\) by y, got \(6"),
        ({"mask": "all"}, r"mask must have shape .*, got str"),
        ({"mask": np.full(SHAPE, 0.5)}, "mask must be 1 where y was observed, 0 where lost"),
        ({"mask": np.full(SHAPE, np.nan)}, "mask must be 1 where y was observed"),
        ({"mask": np.zeros(SHAPE)}, "and not all 0"),
        ({"y": np.ones((5, 6, 3))}, "y has 5 channels"),
    ],
)
def test_bad_file(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", **changes)
    with pytest.raises(UserError, match=text) as caught:
        load_measurement(path, TASK)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"ratio": 0},
            r"task\.ratio=0 must be a number above 0 and at most 1, or two: \[low, high\]$",
        ),
        ({"ratio": 1.1}, r"task\.ratio=1\.1 must be .* at most 1, or two: .*$"),
        ({"noise_std": 25}, r"task\.noise_std=25 must satisfy"),
        ({"per_channel": "no"}, r"task\.per_channel='no' must be true or false"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        InpaintingTask(**({"ratio": 0.5, "noise_std": 0.0, "per_channel": False} | changes))
