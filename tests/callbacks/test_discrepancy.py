import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from deepinv.physics import Denoising, GaussianNoise, ZeroNoise
from torch import Tensor

from metadip.callbacks import DiscrepancyPrinciple, OutputEMA
from metadip.fitting import Adam, Execution, fit
from metadip.tasks import CompressiveSensingTask, InpaintingTask
from metadip.types import InverseProblem, UserError
from tests.callbacks.scripted import random_script, run_script
from tests.fitting.tiny import MSE, image, tiny_prior

SHAPE = (3, 4, 5)


def denoising(seed: int, sigma: float) -> InverseProblem:
    return InverseProblem(
        image(seed, SHAPE), Denoising(GaussianNoise(sigma)), SHAPE, name=f"image{seed}", seed=seed
    )


def approach(y: Tensor, distances: list[float]) -> Tensor:
    """Return frames (T, C, H, W) whose root-mean-square distance from y is as given."""
    direction = torch.randn(y.shape[1:], generator=torch.Generator().manual_seed(9))
    direction = direction / direction.square().mean().sqrt()
    return torch.stack([y[0] + distance * direction for distance in distances])


DISTANCES = [0.5, 0.31, 0.22, 0.19, 0.12, 0.09, 0.3, 0.01]


@pytest.mark.parametrize(
    ("sigma", "tau", "step"),
    [(0.2, 1.0, 3), (0.1, 1.0, 5), (0.1, 2.3, 2), (0.2, 0.5, 5), (0.3, 1.0, 2), (0.001, 1.0, None)],
)
def test_it_stops_at_the_first_step_below_the_noise(sigma: float, tau: float, step: int | None):
    problem = denoising(0, sigma)
    script = approach(problem.y, DISTANCES)[None]
    state = run_script(script, [DiscrepancyPrinciple(tau)], problems=[problem])
    assert state.stop_steps.get(0) == step
    last = len(DISTANCES) - 1 if step is None else step
    assert torch.equal(state.output[0], script[0, last])
    r = torch.tensor(DISTANCES) / sigma
    torch.testing.assert_close(state.curves["discrepancy"][0, : last + 1].float(), r[: last + 1])
    chosen = state.curves["chosen_step"][0]
    assert chosen[:last].isnan().all()
    assert math.isnan(chosen[last]) if step is None else chosen[last] == step


def test_it_tells_why_and_returns_the_iterate_itself():
    problem = denoising(0, 0.2)
    script = approach(problem.y, DISTANCES)[None]
    hooks = [OutputEMA(0.9, bias_correction=True), DiscrepancyPrinciple(1.0)]
    state = run_script(script, hooks, problems=[problem])
    assert state.stop_reasons == {
        0: "discrepancy principle: the residual is 0.950 of what the noise makes, at most tau = 1"
    }
    assert torch.equal(state.output[0], script[0, 3])


def test_each_image_has_its_own_level_and_leaves_alone():
    problems = [denoising(0, 0.1), denoising(1, 0.25), denoising(2, 0.2)]
    script = torch.stack([approach(p.y, DISTANCES) for p in problems])
    losses = torch.ones(3, len(DISTANCES))
    losses[2, 1], script[2, 1] = torch.nan, torch.nan
    hook = DiscrepancyPrinciple(1.0)
    state = run_script(script, [hook], problems=problems, losses=losses)
    assert state.stop_steps == {0: 5, 1: 2, 2: 1}
    assert state.stop_reasons[2] == "diverged"
    for i in range(2):
        alone = run_script(script[i : i + 1], [hook], problems=problems[i : i + 1])
        assert alone.stop_steps[0] == state.stop_steps[i]
        assert torch.equal(alone.output[0], state.output[i])


TASKS: dict[str, Any] = {
    "inpaint": InpaintingTask(0.5, noise_std=0.1, per_channel=False),
    "sensing": CompressiveSensingTask(0.7, noise_std=0.1, operator="gaussian", max_bytes=10**9),
}


@pytest.mark.parametrize("task", TASKS)
def test_the_truth_is_at_one(task: str):
    """Whatever the operator: only what was measured counts."""
    x = image(3, (3, 24, 24))
    problem = TASKS[task].measure(x, seed=1)
    state = run_script(x[None], [DiscrepancyPrinciple(0.01)], problems=[problem])
    assert abs(state.curves["discrepancy"][0, 0].item() - 1) < 0.05  # 1 / sqrt(2 M) = 0.02


def test_the_scale_of_the_objective_does_not_matter():
    problem = denoising(0, 0.2)
    script = approach(problem.y, DISTANCES)[None]
    state = run_script(script, [DiscrepancyPrinciple(1.0)], problems=[replace(problem, scale=3.0)])
    assert state.stop_steps == {0: 3}


@pytest.mark.parametrize("stacked", [False, True])
def test_in_a_fit(stacked: bool):
    problems = [denoising(0, 0.2), denoising(1, 0.25)]
    results = fit(
        problems,
        tiny_prior(),
        MSE,
        Adam(lr=0.05),
        steps=200,
        hooks=[DiscrepancyPrinciple(1.0)],
        execution=Execution(stacked=stacked),
    )
    for problem, sigma, result in zip(problems, (0.2, 0.25), results, strict=True):
        assert result.stop_step is not None
        assert 0 < result.stop_step < 200
        residual = (result.x_hat - problem.y).square().mean().sqrt()
        assert residual <= sigma
        # an mse fit's loss is the squared residual, here of the step before
        assert result.curves["loss"][-2].sqrt() > sigma


@pytest.mark.parametrize("noise", [GaussianNoise(0.0), ZeroNoise()])
def test_an_unknown_level_is_refused(noise: Any):
    problem = InverseProblem(image(0, SHAPE), Denoising(noise), SHAPE, name="cat")
    with pytest.raises(UserError, match=r"needs a noise level above 0, which the \w+Noise of cat "):
        run_script(random_script(1, 3), [DiscrepancyPrinciple(1.0)], problems=[problem])


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf])
def test_bad_arguments(tau: float):
    with pytest.raises(ValueError, match="tau must be finite and above 0, got"):
        DiscrepancyPrinciple(tau)
