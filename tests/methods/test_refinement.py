"""Refinement: plug-and-play ADMM from the result of another method."""

from typing import Any

import pytest
import torch

import metadip
from metadip.callbacks import OraclePSNR
from metadip.methods import TV, Adjoint, PnPADMM, Refinement
from metadip.methods import refinement as module
from metadip.methods.pnp import FIRST_STRENGTH
from metadip.metrics import psnr_db
from metadip.tasks import CompressiveSensingTask, InpaintingTask, JPEGTask
from metadip.types import UserError
from tests.methods.test_denoisers import picture

NUMBERS: dict[str, Any] = {"strength": 0.06, "penalty": 0.2, "iterations": 6}


def test_from_the_adjoint_it_is_plug_and_play_admm():
    """The same start and the same strengths give the same images."""
    problem = InpaintingTask(0.5, noise_std=0.0, per_channel=False).measure(picture(24, 20), seed=0)
    plain = PnPADMM(TV(0.75), **NUMBERS).reconstruct([problem])[0]
    method = Refinement(TV(0.75), first=Adjoint(), first_strength=FIRST_STRENGTH, **NUMBERS)
    refined = method.reconstruct([problem])[0]
    torch.testing.assert_close(refined.x_hat, plain.x_hat)
    assert refined.steps == 6


def test_a_learned_prior_is_refined_where_y_is_exact():
    task = CompressiveSensingTask(0.25, noise_std=0.0, operator="structured", max_bytes=2**26)
    problem = task.measure(picture(48, 48), seed=0)
    assert problem.x is not None
    method = Refinement(
        metadip.denoiser("photo", add_noise=True), first=metadip.load("photo"),
        first_strength=20 / 255, strength=2 / 255, penalty=0.2, iterations=20,
    )  # fmt: skip
    result = method.reconstruct([problem], hooks=[OraclePSNR()])[0]
    curve = result.curves["psnr_db"]
    first = metadip.load("photo").reconstruct([problem])[0].x_hat
    expected = psnr_db(first, problem.x).item()
    assert curve[0].item() == pytest.approx(expected, abs=1e-3)
    assert curve[-1] > curve[0] + 1
    assert torch.equal(method.reconstruct([problem])[0].x_hat, result.x_hat)


@pytest.mark.parametrize(
    "wrong", [{"first_strength": 0.01}, {"strength": 0.0}, {"penalty": 0.0}, {"iterations": 0}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]):
    with pytest.raises(UserError, match="method=refined needs first_strength >= strength > 0"):
        Refinement(TV(0.75), first=Adjoint(), **{**NUMBERS, "first_strength": 0.1, **wrong})


def test_problems_that_either_part_does_not_serve_are_refused():
    method = Refinement(TV(0.75), first=Adjoint(), first_strength=0.1, **NUMBERS)
    problem = JPEGTask(20, codec=True).measure(picture(32, 32), seed=0)
    with pytest.raises(UserError, match="needs a linear operator"):
        method.check(problem, task="task=jpeg")


@pytest.mark.parametrize(("noise_std", "told"), [(0.0, False), (0.1, True)])
def test_noise_is_told_of(noise_std: float, told: bool, caplog: pytest.LogCaptureFixture):
    module._tell_of_noise.cache_clear()
    task = InpaintingTask(0.5, noise_std=noise_std, per_channel=False)
    problem = task.measure(picture(24, 20), seed=0)
    method = Refinement(TV(0.75), first=Adjoint(), first_strength=0.1, **NUMBERS)
    for _ in range(2):
        method.check(problem, task="task=inpaint")
    assert caplog.text.count("y has noise, and method=refined was made for") == int(told)
