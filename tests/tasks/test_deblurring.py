"""Deblurring: kernels, boundaries, scale, blurred images as measurements, refusals."""

from pathlib import Path
from typing import Any

import deepinv.physics
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metadip.physics.scaling import operator_scale
from metadip.report.figures import save_image
from metadip.tasks import DeblurringTask, load_measurement
from metadip.types import InverseProblem, UserError

SHAPE = (3, 16, 20)
GAUSSIAN = {"kernel": "gaussian", "kernel_std_px": 1.0, "kernel_size_px": 5}
every_boundary = pytest.mark.parametrize("boundary", ["circular", "valid"])


def task(**changes: Any) -> DeblurringTask:
    arguments: dict[str, Any] = {**GAUSSIAN, "boundary": "circular", "noise_std": 0.0} | changes
    return DeblurringTask(**arguments)


def picture(*shape: int) -> Tensor:
    return torch.rand((1, *(shape or SHAPE)), generator=torch.Generator().manual_seed(0))


def kernel_of(problem: InverseProblem) -> Tensor:
    kernel: Tensor = problem.physics.filter[0, 0]
    return kernel


@pytest.mark.parametrize("kernel", ["gaussian", "motion", "disk"])
@pytest.mark.parametrize("size_px", [5, 15])
def test_blurs_as_a_convolution(kernel: str, size_px: int) -> None:
    x = picture(2, 24, 30).double()
    std_px = size_px / 6
    settings = {"kernel": kernel, "kernel_size_px": size_px, "kernel_std_px": std_px}
    problems = [
        task(boundary=edge, **settings).measure(x, seed=2) for edge in ("valid", "circular")
    ]
    k = kernel_of(problems[0])
    expected = F.conv2d(x.transpose(0, 1), k.flip(0, 1)[None, None]).transpose(0, 1)
    torch.testing.assert_close(problems[0].y, expected)
    margin = [side // 2 for side in k.shape]
    inner = problems[1].y[..., margin[0] : 24 - margin[0], margin[1] : 30 - margin[1]]
    torch.testing.assert_close(inner, expected)
    for problem in problems:
        image, v = picture(2, 24, 30).double(), torch.rand_like(problem.y)
        back = problem.physics.A_adjoint(v)
        gap = (problem.physics.A(image) * v).sum() - (image * back).sum()
        assert abs(gap) / (v.norm() * image.norm()) < 1e-10


@every_boundary
@pytest.mark.parametrize("std_px", [0.8, 2.0])
def test_scale_keeps_the_energy_of_smooth_images(boundary: str, std_px: float) -> None:
    problem = task(boundary=boundary, kernel_std_px=std_px).measure(picture(1, 64, 64), seed=0)
    values = problem.scale**2 * problem.y.numel()
    assert values == pytest.approx(64 * 64)
    expected = operator_scale(problem.physics, (1, 64, 64), like=problem.y)
    assert problem.scale == pytest.approx(expected, rel=0.2)


def test_each_image_draws_its_kernel() -> None:
    drawn = task(kernel_std_px=[0.5, 2.0])
    sizes = {kernel_of(drawn.measure(picture(), seed=seed)).shape for seed in range(20)}
    assert len(sizes) > 2
    moved = [kernel_of(task(kernel="motion").measure(picture(), seed=seed)) for seed in (0, 0, 1)]
    assert torch.equal(moved[0], moved[1])
    assert not torch.allclose(moved[0], moved[2])
    drawn.check_size((3, 13, 13))
    with pytest.raises(UserError, match="a kernel of 13 x 13 px does not fit in an image of 12 x"):
        drawn.check_size((3, 12, 20))


def kernel_file(folder: Path, kernel: Any, name: str = "k.npz") -> str:
    np.savez(folder / name, filter=np.asarray(kernel, dtype=np.float32))
    return str(folder / name)


def test_kernel_of_a_file(tmp_path: Path) -> None:
    kernel = np.array([[0.0, 0.25, 0.0], [0.5, 0.0, 0.25], [0.0, 0.0, 0.0]])
    problem = task(kernel=kernel_file(tmp_path, kernel)).measure(picture(), seed=0)
    torch.testing.assert_close(kernel_of(problem), torch.tensor(kernel).float())
    save_image(tmp_path / "k.png", torch.tensor(kernel)[None])
    drawn = task(kernel=str(tmp_path / "k.png")).measure(picture(), seed=0)
    torch.testing.assert_close(kernel_of(drawn), torch.tensor(kernel).float(), rtol=0, atol=3e-3)
    assert kernel_of(drawn).sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("kernel", "text"),
    [
        (np.full((4, 3), 1 / 12), "a kernel of 4 x 3 has no pixel in its centre: pad it"),
        (np.full((3, 3), 1.0), "filter sums to 9: divide the kernel by its sum"),
        (np.full(9, 1 / 9), r"filter must be a kernel \(h, w\), got shape \(9,\)"),
        (np.full((3, 3), np.nan), "filter has NaN"),
    ],
)
def test_bad_kernel(kernel: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=text) as caught:
        task(kernel=kernel_file(tmp_path, kernel))
    assert "\n" not in str(caught.value)


def test_black_or_missing_kernel(tmp_path: Path) -> None:
    save_image(tmp_path / "k.png", torch.zeros(1, 3, 3))
    with pytest.raises(UserError, match="a kernel cannot be black everywhere"):
        task(kernel=str(tmp_path / "k.png"))
    for name in ("missing.png", "missing.npz"):
        with pytest.raises(UserError, match=rf"no .* file '.*{name}': check the path"):
            task(kernel=str(tmp_path / name))


@every_boundary
def test_a_blurred_image_file_is_a_measurement(boundary: str, tmp_path: Path) -> None:
    known = task(boundary=boundary)
    save_image(tmp_path / "blurred.png", picture(3, 9, 12))
    problem = load_measurement(tmp_path / "blurred.png", known)
    grown = 0 if boundary == "circular" else 6
    assert problem.image_shape == (3, 9 + grown, 12 + grown)
    x = torch.zeros(1, *problem.image_shape)
    assert problem.physics.A(x).shape == problem.y.shape == (1, 3, 9, 12)
    for unknown in (task(kernel="motion"), task(kernel_std_px=[1, 2])):
        with pytest.raises(UserError, match=r"kernel of a measurement must be known, and task\.k"):
            load_measurement(tmp_path / "blurred.png", unknown)


def test_operators_of_others_are_written_if_a_file_can_hold_them() -> None:
    problem = task(boundary="valid").measure(picture(), seed=0)
    write = DeblurringTask.write
    kernels = torch.rand(1, 3, 3, 3)
    for other in (
        deepinv.physics.Blur(kernels, padding="valid"),
        deepinv.physics.Blur(kernels[:, :1], padding="reflect"),
        deepinv.physics.BlurFFT(SHAPE, filter=kernels),
    ):
        changed = InverseProblem(problem.y, other, SHAPE)
        assert write(changed) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kernel": "gauss"}, r"task\.kernel=gauss is unknown; did you mean gaussian\? choose"),
        ({"kernel_std_px": 0}, r"task\.kernel_std_px=0 must be a number above 0 and at most 20, "),
        ({"kernel_std_px": [2, 1]}, r"task\.kernel_std_px=\[2, 1\] must be"),
        ({"kernel_size_px": 1000}, r"task\.kernel_size_px=1000 must be .* at most 127"),
        (
            {"boundary": "reflect"},
            r"task\.boundary=reflect is unknown; choose from circular, valid",
        ),
        ({"noise_std": -1}, r"task\.noise_std=-1 must satisfy"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        task(**changes)
