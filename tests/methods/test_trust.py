"""What explains y badly is doubted: by the noise, by total variation, by what is left of y."""

from typing import Any

import pytest
import torch
from deepinv.physics import Blur, Denoising, GaussianNoise, Physics, PoissonNoise

from metadip.methods import FitModule
from metadip.methods.trust import better_methods, with_trust
from metadip.physics import MatrixSensing
from metadip.physics.operators import Magnitude
from metadip.types import FitResult, InverseProblem
from tests.fitting.tiny import image, tiny_prior
from tests.methods.tiny_prediction import tiny_method

SHAPE = (3, 24, 24)


def flat() -> torch.Tensor:
    """Return an image of four flat parts, which total variation likes."""
    parts = torch.tensor([[[0.2, 0.8], [0.5, 0.3]]]).expand(3, -1, -1)
    return parts.repeat_interleave(12, 1).repeat_interleave(12, 2)[None].contiguous()


def denoising(std: float) -> InverseProblem:
    noise = torch.randn((1, *SHAPE), generator=torch.Generator().manual_seed(0))
    return InverseProblem(flat() + std * noise, Denoising(GaussianNoise(std)), SHAPE, name="a")


def trust(problem: InverseProblem, x: torch.Tensor, *, tv: bool = False) -> dict[str, Any]:
    given = FitResult(x, steps=1, stop_step=None, stop_reason=None, seconds=0, curves={})
    return dict(with_trust(problem, given, tv=tv).checks["trust"])


def test_by_the_noise(caplog: pytest.LogCaptureFixture):
    problem = denoising(0.1)
    good = trust(problem, flat())
    assert good["over_noise"] == pytest.approx(1, abs=0.05)
    assert good["doubt"] is good["over_tv"] is None
    assert not caplog.records
    bad = trust(problem, flat() + 0.1)  # as far from the truth as y
    assert bad["over_noise"] == pytest.approx(2**0.5, abs=0.05)
    (record,) = caplog.records
    assert record.getMessage() == (
        "a: do not trust the reconstruction, it is 1.4 times as far from y as the noise allows; "
        "better methods may be method=bm3d or method=tv"
    )


def test_the_scale_of_the_problem_does_not_matter():
    from dataclasses import replace

    problem = denoising(0.1)
    scaled = trust(replace(problem, scale=7.0), flat() + 0.1)
    assert scaled == pytest.approx(trust(problem, flat() + 0.1))


def test_by_total_variation():
    """Where nothing is known of the noise but that there is little."""
    physics = MatrixSensing(torch.randn(800, 1728) / 800**0.5, image_shape=SHAPE)
    problem = InverseProblem(physics.A(flat()), physics, SHAPE)
    assert trust(problem, flat() + 0.02)["doubt"] is None
    found = trust(problem, flat() + 0.04, tv=True)
    assert found["over_noise"] is None
    assert found["over_tv"] > 1.2
    assert "times as far from y as a total-variation fit" in found["doubt"]
    near = trust(problem, flat() + 0.02, tv=True)  # 4 % of y are left, and far less by TV
    assert near["over_tv"] > 0.5
    assert near["doubt"] is None


def test_by_what_is_left_of_y():
    physics = MatrixSensing(torch.randn(800, 1728) / 800**0.5, image_shape=SHAPE)
    physics.set_noise_model(GaussianNoise(0.0))
    problem = InverseProblem(physics.A(flat()), physics, SHAPE)
    assert trust(problem, 1.05 * flat())["doubt"] is None
    assert trust(problem, 1.3 * flat())["doubt"] == "it leaves 30 % of y unexplained"


def test_only_learned_priors_are_judged():
    learned, untrained = tiny_prior(), tiny_prior(learned=False)
    problem = InverseProblem(image(0), Denoising(GaussianNoise(0.1)), (3, 8, 8))
    for prior, setting, judged in (
        (learned, None, True), (learned, False, False), (untrained, None, False),
    ):  # fmt: skip
        module = FitModule(tiny_method(prior=prior), trust=setting)
        module._trainer = type("Trainer", (), {"callbacks": []})()
        (result,) = module.predict_step([problem], 0)
        assert ("trust" in result.checks) == judged


@pytest.mark.parametrize(
    ("physics", "named"),
    [
        (Denoising(GaussianNoise(0.1)), "method=bm3d or method=tv"),
        (Denoising(PoissonNoise(0.1)), "method=dip"),
        (Blur(filter=torch.ones(1, 1, 3, 3) / 9), "method=pnp_admm"),
        (Magnitude(MatrixSensing(torch.randn(4, 64), image_shape=(1, 8, 8))), "method=pnp_admm"),
        (Physics(), "method=dip"),
    ],
)
def test_better_methods_serve_the_problem(physics: Physics, named: str):
    problem = InverseProblem(torch.rand(1, 1, 8, 8), physics, (1, 8, 8))
    assert named in better_methods(problem)
