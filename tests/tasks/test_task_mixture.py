"""Mixtures of tasks: frequencies, seeds, refusals, and their configuration."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from metadip import config
from metadip.data import ImageDataModule, LoaderSettings
from metadip.physics import StructuredSensing
from metadip.tasks import (
    CompressiveSensingTask,
    DenoisingTask,
    InpaintingTask,
    ReconstructionTask,
    TaskMixture,
    load_measurement,
)
from metadip.types import CleanImage, UserError

DENOISE = DenoisingTask([0.0, 0.2], clip=False)
CS = CompressiveSensingTask(0.5, noise_std=0.0, operator="structured", max_bytes=2**20)
INPAINT = InpaintingTask(0.5, noise_std=0.0, per_channel=False)
TASKS: dict[str, ReconstructionTask] = {"denoise": DENOISE, "cs": CS, "inpaint": INPAINT}
WEIGHTS = {"denoise": 3, "cs": 1.0, "inpaint": 0.0}
N_SEEDS = 800


def test_tasks_come_by_weight() -> None:
    mixture = TaskMixture(TASKS, weights=WEIGHTS)
    counts = Counter(mixture.draw(seed) for seed in range(N_SEEDS))
    assert set(counts) == {"denoise", "cs"}
    spread = (0.75 * 0.25 / N_SEEDS) ** 0.5
    assert counts["denoise"] / N_SEEDS == pytest.approx(0.75, abs=4 * spread)
    same = TaskMixture(TASKS, weights={name: 10 * w for name, w in WEIGHTS.items()})
    assert [same.draw(s) for s in range(50)] == [mixture.draw(s) for s in range(50)]


def test_measures_as_the_drawn_task_alone() -> None:
    mixture = TaskMixture(TASKS, weights=dict.fromkeys(TASKS, 1.0))
    x = torch.rand(1, 3, 6, 7)
    for seed in range(12):
        problem = mixture.measure(x, seed=seed, name="face")
        alone = TASKS[mixture.draw(seed)].measure(x, seed=seed, name="face")
        torch.testing.assert_close(problem.y, alone.y, rtol=0, atol=0)
        assert type(problem.physics) is type(alone.physics)
        assert (problem.name, problem.seed) == ("face", seed)


def test_some_images_are_made_grey() -> None:
    x = torch.rand(1, 3, 2, 2)
    grey = TaskMixture(TASKS, weights=WEIGHTS, grey=0.25)
    shapes = Counter(grey.measure(x, seed=seed).image_shape[0] for seed in range(N_SEEDS))
    assert set(shapes) == {1, 3}
    spread = (0.25 * 0.75 / N_SEEDS) ** 0.5
    assert shapes[1] / N_SEEDS == pytest.approx(0.25, abs=4 * spread)
    always = TaskMixture({"denoise": DENOISE}, weights={"denoise": 1.0}, grey=1.0)
    problem = always.measure(x, seed=1)
    assert problem.x is not None
    torch.testing.assert_close(problem.x, x.mean(dim=1, keepdim=True))
    for bad in (-0.1, 1.1, float("nan"), "half"):
        with pytest.raises(UserError, match=r"task\.grey=.* must be a probability"):
            TaskMixture(TASKS, weights=WEIGHTS, grey=bad)  # type: ignore[arg-type]


def test_noise_level_says_nothing_about_the_task() -> None:
    mixture = TaskMixture({"a": DENOISE, "b": DENOISE}, weights={"a": 1.0, "b": 1.0})
    x = torch.zeros(1, 1, 1, 1)
    levels: dict[str, list[float]] = {"a": [], "b": []}
    for seed in range(N_SEEDS):
        sigma = mixture.measure(x, seed=seed).physics.noise_model.sigma
        levels[mixture.draw(seed)].append(float(sigma))
    means = [sum(values) / len(values) for values in levels.values()]
    assert means == pytest.approx([0.1, 0.1], abs=4 * 0.2 / (12 * N_SEEDS / 2) ** 0.5)


def test_task_of_an_image_depends_on_nothing_around_it() -> None:
    mixture = TaskMixture(TASKS, weights=dict.fromkeys(TASKS, 1.0))
    loader = LoaderSettings(1, 1, None, None, None, 0)
    data = ImageDataModule(None, val=None, test=None, task=mixture, loader=loader, seed=5)
    images = [CleanImage(torch.rand(1, 6, 6), i, str(i)) for i in range(8)]
    together = {problem.name: problem for problem in data.measure(images[::-1], "train")}
    assert len({type(problem.physics) for problem in together.values()}) > 1
    for image in images:
        (alone,) = data.measure([image], "train")
        torch.testing.assert_close(together[image.name].y, alone.y, rtol=0, atol=0)


def weights(**changes: Any) -> dict[str, Any]:
    return dict.fromkeys(TASKS, 1.0) | changes


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            dict.fromkeys(TASKS, 0),
            r"task\.weights are all 0: give at least one of denoise, cs, inp",
        ),
        (weights(derain=1), r"task\.weights\.derain weighs what is not there; there are denoise"),
        ({"denoise": 1.0}, r"task\.weights\.cs must be given, 0 to leave it out"),
        (weights(cs=-1), r"task\.weights\.cs=-1 must be a finite number of at least 0"),
        (weights(cs=float("nan")), r"task\.weights\.cs=nan must be a finite number"),
        (weights(cs=float("inf")), r"task\.weights\.cs=inf must be a finite number"),
        (weights(cs="often"), r"task\.weights\.cs='often' must be a finite number"),
        (weights(cs=None), r"task\.weights\.cs=None must be a finite number"),
        (weights(cs=True), r"task\.weights\.cs=True must be a finite number"),
    ],
)
def test_bad_weights(given: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        TaskMixture(TASKS, weights=given)
    assert "\n" not in str(caught.value)


def test_mixture_inside_a_mixture() -> None:
    inner = TaskMixture(TASKS, weights=WEIGHTS)
    with pytest.raises(UserError, match=r"task\.tasks\.more is a mixture: name its tasks one by"):
        TaskMixture({"more": inner}, weights={"more": 1.0})
    with pytest.raises(UserError, match=r"task\.weights are all 0: give at least one of nothing"):
        TaskMixture({}, weights={})


def test_measurement_of_a_mixture(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task=mixture cannot tell .*; choose from denoise, cs"):
        load_measurement(tmp_path / "y.pt", TaskMixture(TASKS, weights=WEIGHTS))


def test_preset_holds_the_presets_of_its_tasks() -> None:
    cfg = config.compose("infer", ["task=mixture", "task.tasks.cs.ratio=0.1"])
    mixture = config.build(cfg.task)
    assert list(mixture.tasks) == list(mixture.weights)
    assert list(mixture.tasks) == ["denoise", "cs", "cpr", "inpaint", "sr", "deblur"]
    assert mixture.tasks["cs"].ratio == 0.1
    alone = config.build(config.compose("infer", ["task=inpaint"]).task)
    assert mixture.tasks["inpaint"] == alone
    only = config.build(config.compose("infer", ["task=mixture", *off("denoise", "cpr")]).task)
    drawn = [only.measure(torch.rand(1, 3, 64, 64), seed=seed).physics for seed in range(8)]
    assert any(isinstance(physics, StructuredSensing) for physics in drawn)
    with pytest.raises(UserError, match=r"unknown setting 'task\.tasks\.cs\.ratoi'"):
        config.compose("infer", ["task=mixture", "+task.tasks.cs.ratoi=1"])


def off(*names: str) -> list[str]:
    return [f"task.weights.{name}=0" for name in names]
