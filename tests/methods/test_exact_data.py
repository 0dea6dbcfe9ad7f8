"""Results that agree with y where y has no noise: when, told how, and when not."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from deepinv.physics import GaussianNoise, Inpainting
from PIL import Image

from metadip.methods import exact_data
from metadip.methods.exact_data import with_exact_data
from metadip.physics import MatrixSensing
from metadip.physics.operators import Magnitude
from metadip.report import save_image
from metadip.types import Estimate, FitResult, InverseProblem
from tests.fitting.tiny import image
from tests.methods.tiny_prediction import tiny_method
from tests.tiny import infer, read_metrics, save_tiny_prior

KEEP = (image(7) > 0.5).float()[0]


def inpainting(noise_std: float | None) -> Inpainting:
    """None: the operator has no noise model but that which deepinv gives to all."""
    noise = {} if noise_std is None else {"noise_model": GaussianNoise(noise_std)}
    return Inpainting((3, 8, 8), mask=KEEP, **noise)


def result_of(x: torch.Tensor, estimate: Estimate | None = None) -> FitResult:
    return FitResult(
        x, steps=1, stop_step=None, stop_reason=None, seconds=0, curves={}, estimate=estimate
    )


@pytest.mark.parametrize(
    ("noise_std", "exact", "agrees"),
    [
        (0.0, None, True),
        (0.0, False, False),
        (0.1, None, False),
        (0.1, True, True),
        (None, None, False),
        (None, True, True),
    ],
)
def test_where_the_noise_is_known_to_be_zero(
    noise_std: float | None, exact: bool | None, agrees: bool
):
    physics, x = inpainting(noise_std), image(0)
    y = KEEP * x
    x_hat = tiny_method()(y, physics, exact=exact)
    plain = tiny_method().reconstruct([InverseProblem(y, physics, (3, 8, 8))])[0].x_hat
    assert torch.allclose(KEEP * x_hat, y, atol=1e-6) == agrees
    torch.testing.assert_close((1 - KEEP) * x_hat, (1 - KEEP) * plain)
    assert torch.equal(x_hat, plain) != agrees


def test_the_residuals_are_stated():
    problem = InverseProblem(KEEP * image(0), inpainting(0.0), (3, 8, 8))
    result = with_exact_data(problem, result_of(image(0) + 0.1), exact=None, clip=True)
    before = 0.1 * KEEP.sum().sqrt() / problem.y.norm()
    stated = result.checks["exact_data"]
    assert stated["residual_before"] == pytest.approx(before.item(), rel=1e-4)
    assert stated["residual"] < 1e-6
    assert stated["residual_clipped"] < 1e-6


def test_other_operators_are_told_of_once(caplog: pytest.LogCaptureFixture):
    physics = Magnitude(MatrixSensing(torch.randn(20, 192), image_shape=(3, 8, 8)))
    physics.set_noise_model(GaussianNoise(0.0))
    problem = InverseProblem(physics.A(image(0)), physics, (3, 8, 8))
    exact_data._tell_of_other_operators.cache_clear()
    with caplog.at_level(logging.INFO, "metadip"):
        for _ in range(2):
            given = result_of(image(1))
            assert with_exact_data(problem, given, exact=None, clip=True) is given
    (record,) = caplog.records
    assert "Magnitude is not a known linear operator" in record.getMessage()


def test_an_estimated_operator_is_no_exact_one():
    problem = InverseProblem(KEEP * image(0), inpainting(0.0), (3, 8, 8))
    blind = result_of(image(1), Estimate(image(1), {"mask": KEEP}))
    assert with_exact_data(problem, blind, exact=None, clip=True) is blind


def test_observed_pixels_stay_in_the_picture(tmp_path: Path):
    save_image(tmp_path / "x.png", image(0, (3, 16, 16)))
    prior = save_tiny_prior(tmp_path / "prior.safetensors")
    arguments = [f"ckpt={prior}", "task=inpaint", "task.noise_std=0", f"input={tmp_path / 'x.png'}"]
    agreeing = infer(*arguments, f"out={tmp_path / 'a'}")["images"][0]
    plain = infer(*arguments, "exact=false", f"out={tmp_path / 'b'}")["images"][0]
    truth, a, b = (
        np.array(Image.open(path))
        for path in (tmp_path / "x.png", *(tmp_path / run / "reconstruction.png" for run in "ab"))
    )
    same = (truth == a).all(axis=2)
    assert 0.3 < same.mean() < 0.7  # half is observed
    assert (truth == b).all(axis=2).mean() < 0.1
    assert agreeing["psnr_db"] > plain["psnr_db"] + 2
    assert agreeing["exact_data"]["residual"] < 1e-5 < agreeing["exact_data"]["residual_before"]
    assert "exact_data" not in plain
    assert json.dumps(read_metrics(tmp_path / "a"))
