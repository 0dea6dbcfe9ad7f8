"""Measurement files: what is written comes back, and every bad file ends in one clear line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import deepinv.physics
import numpy as np
import pytest
import torch
from PIL import Image

from metadip.physics import MatrixSensing, StructuredSensing
from metadip.tasks import (
    CompressiveSensingTask,
    DenoisingTask,
    PhaseRetrievalTask,
    load_measurement,
    save_measurement,
)
from metadip.types import InverseProblem, Task, UserError

DENOISE = DenoisingTask(0.1, clip=False)
CS = CompressiveSensingTask(0.5, noise_std=0.05, operator="structured", max_bytes=2**20)
CPR = PhaseRetrievalTask(1.5, noise_std=[0.0, 0.2], operator="structured", max_bytes=2**20)
TASKS = [DENOISE, CS, replace(CS, operator="structured"), CPR, replace(CPR, operator="gaussian")]
SUFFIXES = [".pt", ".npz"]
every_suffix = pytest.mark.parametrize("suffix", SUFFIXES)
SHAPE = (3, 5, 6)
N = 90
Content = dict[str, object]


def problem_of(task: Task) -> InverseProblem:
    x = torch.rand((1, *SHAPE), generator=torch.Generator().manual_seed(0))
    return task.measure(x, seed=4, name="face")


def write(path: Path, content: object) -> Path:
    """Write a file as a user would, by the suffix."""
    if path.suffix == ".pt":
        torch.save(content, path)
    else:
        assert isinstance(content, dict)
        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in content.items()}
        np.savez(path, **arrays)
    return path


def image(**changes: object) -> Content:
    return {"y": torch.rand(SHAPE), "noise_std": 0.1} | changes


def sensed(**changes: object) -> Content:
    return {
        "y": torch.randn(7),
        "image_shape": torch.tensor(SHAPE),
        "A": torch.randn(7, N),
    } | changes


def seeded(**changes: object) -> Content:
    return {"y": torch.randn(7), "image_shape": torch.tensor(SHAPE), "seed": 3} | changes


def without(content: Content, key: str) -> Content:
    return {name: value for name, value in content.items() if name != key}


@every_suffix
@pytest.mark.parametrize("task", TASKS, ids=str)
def test_saved_problem_comes_back(task, suffix: str, tmp_path: Path) -> None:
    problem = problem_of(task)
    assert problem.x is not None
    path = tmp_path / f"scan{suffix}"
    save_measurement(path, problem)
    loaded = load_measurement(path, task)
    torch.testing.assert_close(loaded.y, problem.y, rtol=0, atol=0)
    torch.testing.assert_close(loaded.x, problem.x, rtol=0, atol=0)
    torch.testing.assert_close(loaded.physics.A(problem.x), problem.physics.A(problem.x))
    assert type(loaded.physics) is type(problem.physics)
    assert loaded.image_shape == SHAPE
    assert loaded.name == "scan"
    sigma = problem.physics.noise_model.sigma
    torch.testing.assert_close(loaded.physics.noise_model.sigma, sigma)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@every_suffix
def test_given_matrix_stays_as_it_is_and_has_a_scale(suffix: str, tmp_path: Path) -> None:
    matrix, x = 40 * torch.randn(30, N), torch.rand(SHAPE)
    y = matrix @ x.flatten()
    content = {"y": y, "A": matrix, "image_shape": torch.tensor(SHAPE), "noise_std": 8.0, "x": x}
    problem = load_measurement(write(tmp_path / f"a{suffix}", content), CS)
    linear = problem.physics
    assert isinstance(linear, MatrixSensing)
    assert problem.x is not None
    assert torch.equal(linear.matrix, matrix)
    assert torch.equal(problem.y[0], y)
    assert linear.noise_model.sigma == pytest.approx(8)
    scaled = problem.scale * matrix
    assert scaled.norm().square().item() == pytest.approx(N, rel=1e-5)
    torch.testing.assert_close(linear.A(problem.x), problem.y)
    save_measurement(tmp_path / f"b{suffix}", problem)
    again = load_measurement(tmp_path / f"b{suffix}", CS)
    assert torch.equal(again.y, problem.y)
    assert torch.equal(again.physics.matrix, linear.matrix)
    assert again.scale == problem.scale


@every_suffix
def test_optional_entries(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    problem = load_measurement(write(path, seeded()), CPR)
    assert problem.x is None
    assert problem.physics.noise_model.sigma == pytest.approx(0.1)  # the middle of the task's range
    assert isinstance(problem.physics.B, StructuredSensing)
    assert (problem.physics.B.seed, problem.physics.B.n_layers) == (3, 2)
    other = load_measurement(write(path, seeded(operator="structured", n_layers=3)), CS)
    assert other.physics.n_layers == 3
    batch = load_measurement(write(path, image(y=torch.rand(1, *SHAPE).double())), DENOISE)
    assert batch.y.shape == (1, *SHAPE)
    assert batch.y.dtype == torch.float32


def test_image_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noisy.png")
    problem = load_measurement(tmp_path / "noisy.png", DENOISE)
    expected = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    torch.testing.assert_close(problem.y, expected)
    assert problem.physics.noise_model.sigma == pytest.approx(0.1)
    with pytest.raises(
        UserError, match=r"noisy\.png: a measurement of this task must be one of \.pt, \.npz"
    ):
        load_measurement(tmp_path / "noisy.png", CS)


BAD_ENTRIES: list[tuple[object, Content, str]] = [
    (DENOISE, without(image(), "y"), r"y is missing \(the measurement\); the file holds noise_std"),
    (DENOISE, image(y=torch.full(SHAPE, torch.nan)), "y has NaN or infinity in 90 of 90 values"),
    (DENOISE, image(y=torch.full(SHAPE, torch.inf)), "y has NaN or infinity"),
    (
        DENOISE,
        image(y=torch.zeros(SHAPE).bool()),
        r"y must be an array of real .* got torch\.bool",
    ),
    (
        DENOISE,
        image(y=torch.zeros(SHAPE, dtype=torch.cfloat)),
        r"y must be .* got torch\.complex64",
    ),
    (DENOISE, image(y="picture"), "y must be an array of real floating-point numbers, got str"),
    (DENOISE, image(y=torch.zeros(5)), r"y must have shape \(C, H, W\), got \(5,\)"),
    (
        DENOISE,
        image(y=torch.zeros(2, 3, 5, 6)),
        r"y must have shape \(C, H, W\), got \(2, 3, 5, 6\)",
    ),
    (DENOISE, image(y=torch.zeros(5, 6, 7)), r"y has 5 channels in \(C, H, W\) = \(5, 6, 7\)"),
    (DENOISE, image(y=torch.full(SHAPE, 200.0)), r"y reaches 200; scale it to \[0, 1\] intensity"),
    (DENOISE, image(noise_std=-1.0), r"noise_std must be a finite number of at least 0, got -1\.0"),
    (
        DENOISE,
        image(noise_std="loud"),
        "noise_std must be a finite number of at least 0, got 'loud'",
    ),
    (
        DENOISE,
        image(x=torch.zeros(3, 6, 5)),
        r"x must have the image's shape \(3, 5, 6\), got \(3, 6",
    ),
    (CS, without(sensed(), "y"), "y is missing"),
    (
        CS,
        without(sensed(), "image_shape"),
        r"image_shape is missing \(C, H, W of the unknown image\)",
    ),
    (CS, without(sensed(), "A"), r"seed is missing \(that of .*, or give the matrix as A\)"),
    (CS, sensed(y=torch.randn(1, 7)), r"y must have shape \(M,\), got \(1, 7\)"),
    (CS, sensed(y=torch.randn(0)), r"y must have shape \(M,\), got \(0,\)"),
    (
        CPR,
        sensed(y=torch.randn(8)),
        r"A must have shape \(8, 90\) by y and image_shape, got \(7, 90\)",
    ),
    (CS, sensed(A=torch.zeros(7, N)), "A is zero everywhere"),
    (CS, sensed(A=torch.full((7, N), torch.nan)), "A has NaN or infinity"),
    (CS, sensed(A=torch.ones(7, N).int()), r"A must be an array of real .* got torch\.int32"),
    (
        CS,
        sensed(image_shape=torch.tensor([5, 6])),
        r"image_shape must be three whole .* got \[5, 6\]",
    ),
    (
        CS,
        sensed(image_shape=torch.tensor([5.0, 6.0, 3.0])),
        "image_shape must be three whole numbers",
    ),
    (CS, sensed(image_shape=torch.tensor([3, 0, 6])), "image_shape must be .* at least 1"),
    (CS, sensed(image_shape=torch.tensor([5, 6, 3])), "image_shape has 5 channels"),
    (CS, sensed(image_shape=7), "image_shape must be three whole numbers"),
    (CS, seeded(seed=1.5), r"seed must be a whole number, got 1\.5"),
    (CS, seeded(operator="gauss"), "operator is 'gauss'; choose from gaussian, structured"),
    (CS, seeded(operator=3), "operator is (3|an array .*); choose from"),
    (CPR, seeded(n_layers=0), "n_layers must be at least 1, got 0"),
    (
        CS,
        seeded(y=torch.randn(90000), operator="gaussian"),
        "needs 32.4 MB, .*task.operator=structured",
    ),
]


@every_suffix
@pytest.mark.parametrize(("task", "content", "text"), BAD_ENTRIES)
def test_bad_entry(task, content: Content, text: str, suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"scan{suffix}", content)
    with pytest.raises(UserError, match=text) as caught:
        load_measurement(path, task)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path)) or "max_bytes" in message


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("not a measurement\n")


@every_suffix
@pytest.mark.parametrize("damage", [truncate, empty, text])
def test_damaged_file(damage: Callable[[Path], None], suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"scan{suffix}", image())
    damage(path)
    with pytest.raises(UserError, match=rf"scan{suffix}: cannot be read as {suffix}") as caught:
        load_measurement(path, DENOISE)
    assert "\n" not in str(caught.value)


class Payload:
    """Something that only a pickle can hold."""


@every_suffix
def test_pickled_content_is_refused(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"scan{suffix}", {"y": Payload()})
    with pytest.raises(UserError, match=f"cannot be read as {suffix} .*holds more than"):
        load_measurement(path, DENOISE)


def test_file_that_is_no_dictionary(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.pt", torch.zeros(SHAPE))
    with pytest.raises(UserError, match=r"scan\.pt: must hold a dictionary with key y, got Tensor"):
        load_measurement(path, DENOISE)
    bare = tmp_path / "scan.npz"
    with bare.open("wb") as stream:
        np.save(stream, np.zeros(SHAPE))
    with pytest.raises(UserError, match=r"scan\.npz: cannot be read as \.npz"):
        load_measurement(bare, DENOISE)


def test_missing_file(tmp_path: Path) -> None:
    for task in (DENOISE, CS):
        with pytest.raises(UserError, match=r"no measurement file '.*scan\.npz': check the path"):
            load_measurement(tmp_path / "scan.npz", task)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    problem = problem_of(DENOISE)
    with pytest.raises(
        UserError, match=r"scan\.mat: a measurement is written to one of \.pt, \.npz"
    ):
        save_measurement(tmp_path / "scan.mat", problem)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to folder '.*file': .*; choose another"):
        save_measurement(tmp_path / "file" / "scan.pt", problem)
    (tmp_path / "file").unlink()
    blur = deepinv.physics.Blur(filter=torch.ones(1, 1, 3, 3))
    with pytest.raises(UserError, match="a measurement file cannot hold the operator Blur"):
        save_measurement(tmp_path / "scan.pt", replace(problem, physics=blur))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_an_image_file_has_its_own_channels(channels: int, mode: str, tmp_path: Path) -> None:
    Image.new(mode, (6, 5), "white").save(tmp_path / "noisy.png")
    assert load_measurement(tmp_path / "noisy.png", DENOISE).image_shape == (channels, 5, 6)
