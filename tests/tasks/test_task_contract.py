"""What callers rely on in every task: names, facts, files, and the one home of the scale."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import deepinv.physics
import pytest
import torch
from torch import Tensor

import metadip.tasks
from metadip import config
from metadip.callbacks import DiscrepancyPrinciple
from metadip.fitting import MomentumSGD
from metadip.methods import PnPADMM
from metadip.methods.pnp import data_update, start_of
from metadip.physics import MatrixSensing
from metadip.physics.noise_level import expected_noise_energy
from metadip.priors.inputs import BackProjection
from metadip.tasks import (
    TASKS,
    InpaintingTask,
    MeasurementFile,
    ReconstructionTask,
    TaskMixture,
    load_measurement,
    save_measurement,
)
from metadip.types import InverseProblem, UserError
from tests.callbacks.scripted import run_script
from tests.fitting.tiny import tiny_prior
from tests.methods.tiny_prediction import tiny_method

SHAPE = (3, 12, 12)
NAMES = list(TASKS)
WITHOUT_LEVEL = {"jpeg", "real_noise", "cdi"}
# Of these, an image and the settings of the task tell the operator.
OF_IMAGES = {
    "denoise",
    "inpaint",
    "sr",
    "deblur",
    "blind_deblur",
    "demosaick",
    "jpeg",
    "real_noise",
}
every_name = pytest.mark.parametrize("name", NAMES)


def preset(name: str, *settings: str) -> ReconstructionTask:
    """Return a task as a run builds it."""
    cfg = config.compose("infer", [f"task={name}", *settings])
    task: ReconstructionTask = config.build(cfg.task)
    return task


def picture(shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand((1, *shape), generator=torch.Generator().manual_seed(0))


def test_the_registry_names_every_file_of_conf_and_its_class(repo: Path) -> None:
    files = sorted((repo / "conf" / "task").glob("*.yaml"))
    assert {file.stem for file in files} == {*TASKS, "mixture"}
    for file in files:
        expected = TASKS.get(file.stem, TaskMixture).__name__
        assert config.read_yaml(file)["_target_"] == f"metadip.tasks.{expected}"
        assert hasattr(metadip.tasks, expected)


def test_no_task_has_nearly_the_name_of_an_operator() -> None:
    for task in (*TASKS.values(), TaskMixture):
        assert [name for name in dir(deepinv.physics) if task.__name__ in name] == []


@every_name
@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_what_a_task_writes_it_reads(name: str, suffix: str, tmp_path: Path) -> None:
    noisy = name not in WITHOUT_LEVEL
    task, x = preset(name, *["task.noise_std=0.07"] * noisy), picture()
    problem = task.measure(x, seed=5)
    entries = task.write(problem)
    assert entries is not None
    file = tmp_path / f"scan{suffix}"
    save_measurement(file, problem)
    found = task.read(MeasurementFile(file, images=task.reads_images))
    assert torch.equal(found.y, problem.y)
    torch.testing.assert_close(found.x, problem.x, rtol=0, atol=0)
    unknown = picture(problem.image_shape)
    torch.testing.assert_close(found.physics.A(unknown), problem.physics.A(unknown))
    assert found.scale == problem.scale
    assert (found.image_shape, found.name) == (problem.image_shape, "scan")
    assert not noisy or float(found.physics.noise_model.sigma) == pytest.approx(0.07)
    assert sorted(task.write(found) or {}) == sorted(entries)


@every_name
def test_an_operator_is_written_by_its_own_task_alone(name: str) -> None:
    problem = preset(name).measure(picture(), seed=5)
    writers = [other for other, task in TASKS.items() if task.write(problem) is not None]
    assert writers == [name]
    assert TaskMixture.write(problem) is None


def test_a_mask_that_is_no_mask_cannot_be_written(tmp_path: Path) -> None:
    problem = preset("inpaint").measure(picture(), seed=5)
    graded = deepinv.physics.Inpainting(SHAPE, mask=0.5 * problem.physics.mask[0])
    with pytest.raises(UserError, match="a measurement file cannot hold the operator Inpainting"):
        save_measurement(tmp_path / "scan.pt", replace(problem, physics=graded))
    assert not list(tmp_path.iterdir())


@every_name
def test_facts_about_image_files(name: str) -> None:
    task = preset(name)
    problem = task.measure(picture(), seed=5)
    same_size = problem.y.shape == problem.x.shape  # type: ignore[union-attr]
    assert same_size or not task.same_size
    assert task.reads_images == (name in OF_IMAGES)


@pytest.mark.parametrize("name", ["cs", "cpr"])
def test_images_too_large_for_a_matrix_are_rejected_without_drawing_it(name: str) -> None:
    task = preset(name, "task.operator=gaussian", "task.max_bytes=100000")
    mixture = TaskMixture({"a": preset("denoise"), "b": task}, weights={"a": 1.0, "b": 1.0})
    for one in (task, mixture):
        one.check_size((1, 8, 8))
        with pytest.raises(UserError, match=r"Gaussian matrix needs .* task\.operator=structured"):
            one.check_size((3, 4096, 4096))
    replace(mixture, weights={"a": 1.0, "b": 0.0}).check_size((3, 4096, 4096))
    preset(name).check_size((3, 4096, 4096))
    preset("inpaint").check_size((3, 4096, 4096))


def given_matrix(tmp_path: Path) -> InverseProblem:
    """Return a problem whose matrix comes from a file, 30 times as large as ours."""
    generator = torch.Generator().manual_seed(1)
    matrix = 30 * torch.randn(200, math.prod(SHAPE), generator=generator) / 200**0.5
    y = matrix @ picture().flatten() + 3 * torch.randn(200, generator=generator)
    content = {"y": y, "A": matrix, "image_shape": SHAPE, "noise_std": 3.0, "x": picture()[0]}
    torch.save(content, tmp_path / "scan.pt")
    return load_measurement(tmp_path / "scan.pt", preset("cs"))


def inpainted(tmp_path: Path) -> InverseProblem:
    return InpaintingTask(0.4, noise_std=0.1, per_channel=True).measure(picture(), seed=2)


def in_the_operator(problem: InverseProblem) -> InverseProblem:
    """Return the same problem with the scale in operator, measurement and noise level."""
    physics: Any = problem.physics
    if isinstance(physics, MatrixSensing):
        scaled: Any = MatrixSensing(problem.scale * physics.matrix, image_shape=SHAPE)
    else:
        scaled = deepinv.physics.Inpainting(SHAPE, mask=problem.scale * physics.mask[0])
    sigma = problem.scale * float(physics.noise_model.sigma)
    scaled.set_noise_model(deepinv.physics.GaussianNoise(sigma))
    return replace(problem, y=problem.scale * problem.y, physics=scaled, scale=1.0)


SCALED: list[Callable[[Path], InverseProblem]] = [given_matrix, inpainted]


@pytest.mark.parametrize("make", SCALED)
def test_the_scale_does_what_it_would_inside_the_operator(
    make: Callable[[Path], InverseProblem], tmp_path: Path
) -> None:
    """Fits, plug-and-play, inputs and stopping rules: each serves both forms alike."""
    problem = make(tmp_path)
    inside = in_the_operator(problem)
    assert abs(problem.scale - 1) > 0.3
    energies = [expected_noise_energy(p) or 0.0 for p in (problem, inside)]
    assert problem.scale**2 * energies[0] == pytest.approx(energies[1], rel=1e-5)
    assert problem.x is not None
    script = problem.x[None]
    hooks = [DiscrepancyPrinciple(0.01)]
    states = [run_script(script, hooks, problems=[p]) for p in (problem, inside)]
    curves = [state.curves["discrepancy"].float() for state in states]
    torch.testing.assert_close(*curves)
    assert abs(curves[0][0, 0].item() - 1) < 0.2  # the truth is at the noise
    same: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-3}
    z = picture() - 0.5
    for result in (
        start_of,
        BackProjection(3).of,
        lambda p: data_update(p, penalty=0.3)(z),
        lambda p: solved(tiny_method(prior=tiny_prior(), optimizer=rule(), steps=6), p),
        lambda p: solved(PnPADMM(soften, strength=0.1, penalty=0.3, iterations=4), p),
    ):
        torch.testing.assert_close(result(problem), result(inside), **same)


def rule() -> MomentumSGD:
    return MomentumSGD(lr=0.05, momentum=0.5, n_steps=1)


def soften(y: Tensor, noise_std: float) -> Tensor:
    return y / (1 + noise_std)


def solved(method: Any, problem: InverseProblem) -> Tensor:
    x_hat: Tensor = method.reconstruct([problem])[0].x_hat
    return x_hat
