"""A fit that stops once a step changes little, against a script of images."""

import pytest
import torch
from torch import Tensor

import metadip
from metadip.callbacks import Converged
from metadip.fitting import Execution, MomentumSGD, fit
from metadip.priors import LatentNetwork
from metadip.types import Estimate, InverseProblem, Named, Start, UserError
from tests.fitting.tiny import MSE, noisy, tiny_prior

NOTHING = MomentumSGD(lr=0.1, momentum=0.5, n_steps=1, names=())
TOLERANCE = 0.01


class Halving(LatentNetwork):
    """An image that comes half of the way closer to 1 at every step; its start is y."""

    def start(self, problem: InverseProblem) -> Start:
        return Start(self.weights, {"z": problem.y})

    def forward(self, size: tuple[int, int], *, z: Tensor) -> Estimate:  # type: ignore[override]
        return Estimate(z)

    def refresh(
        self, inputs: Named, estimate: Estimate, problem: InverseProblem, step: int
    ) -> Named:
        return {"z": (estimate.x + 1) / 2}


class Alternating(Halving):
    """The same on odd steps; on even ones it is a fifth brighter."""

    def refresh(
        self, inputs: Named, estimate: Estimate, problem: InverseProblem, step: int
    ) -> Named:
        dim = estimate.x / (1 if step % 2 else 1.2)
        return {"z": (dim + 1) / 2 * (1.2 if step % 2 else 1)}


def halving(kind: type[Halving] = Halving) -> Halving:
    tiny = tiny_prior()
    return kind(tiny.network, tiny.latent, learned=True)


@pytest.mark.parametrize("stacked", [False, True])
def test_each_image_stops_at_its_own_step(stacked: bool):
    starts = (0.0, 0.9, 1.0)
    problems = [noisy(seed) for seed in range(3)]
    problems = [
        InverseProblem(torch.full_like(p.y, c), p.physics, p.image_shape)
        for p, c in zip(problems, starts, strict=True)
    ]
    results = fit(
        problems, halving(), MSE, NOTHING, steps=20, hooks=[Converged(TOLERANCE)],
        execution=Execution(stacked=stacked),
    )  # fmt: skip
    for result, x in zip(results, starts, strict=True):
        steps, change = 0, 1.0
        while change > TOLERANCE:
            x, before, steps = (x + 1) / 2, x, steps + 1
            change = abs(x - before) / x
        assert result.stop_step == result.steps == steps
        assert result.x_hat.mean().item() == pytest.approx(x)
        assert result.curves["change"][steps].item() == pytest.approx(change, abs=1e-6)
        assert "converged: a step changed less than 0.01 of the image" in str(result.stop_reason)
    assert [result.steps for result in results] == [7, 4, 1]


@pytest.mark.parametrize("stacked", [False, True])
def test_images_that_alternate_end_at_their_mean(stacked: bool):
    problems = [noisy(0), noisy(1)]
    results = fit(
        problems, halving(Alternating), MSE, NOTHING, steps=40, hooks=[Converged(1e-4)],
        execution=Execution(stacked=stacked),
    )  # fmt: skip
    for result in results:
        assert 10 < result.steps < 20
        torch.testing.assert_close(
            result.x_hat, torch.full_like(result.x_hat, 1.1), rtol=1e-3, atol=0
        )
        assert result.curves["change"][-1] > 0.1


def test_priors_that_see_the_image_bring_it_unless_told_otherwise():
    photo = metadip.load("photo")
    assert [type(hook) for hook in photo.callbacks] == [Converged]
    assert not metadip.load("photo", tolerance=0).callbacks
    assert not metadip.load("faces64").callbacks
    assert metadip.load("faces64", tolerance=0.1).callbacks[0].tolerance == 0.1


def test_a_negative_tolerance_is_no_setting():
    with pytest.raises(UserError, match=r"method\.tolerance=-0\.1 must be a number above 0"):
        metadip.load("photo", tolerance=-0.1)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_tolerance_is_refused(tolerance: float):
    with pytest.raises(ValueError, match="tolerance must be finite and above 0"):
        Converged(tolerance)
