"""Hybrid input-output and relatives on objects whose solution is known."""

import pytest
import torch
from torch import Tensor

from metadip.methods import HIO
from metadip.methods.hio import Cycling, Plan, blurred
from metadip.tasks import DenoisingTask, DiffractionTask
from metadip.types import InverseProblem, UserError


def problem_of(phase: str, *, photons: float | None = None, px: int = 24) -> InverseProblem:
    task = DiffractionTask(
        2.0, photons=photons, phase=phase, object="crystal", beamstop_px=0
    )  # fmt: skip
    return task.measure(torch.zeros(1, 1, px, px), seed=1)


def plan(**changes: object) -> Plan:
    settings = {
        "update": "hio", "cycles": 300, "er_cycles": 60, "beta": 0.9, "restarts": 6,
        "shrink_every": 20, "threshold": 0.1,
    } | changes  # fmt: skip
    return Plan(**settings)  # type: ignore[arg-type]


def hio(**changes: object) -> HIO:
    return HIO(**vars(plan(**changes)))


def error_of(problem: InverseProblem, x_hat: Tensor) -> float:
    scores = problem.reading.scores(x_hat, problem.x)  # type: ignore[union-attr]
    return float(scores["relative_error"])


@pytest.mark.parametrize(("phase", "update"), [("none", "hio"), ("weak", "hio"), ("weak", "raar")])
def test_the_object_is_found(phase: str, update: str):
    problem = problem_of(phase)
    (result,) = hio(update=update).reconstruct([problem])
    assert result.x_hat.shape == (1, *problem.image_shape)
    assert error_of(problem, result.x_hat) < 0.13  # soft edges below the threshold are lost
    assert result.steps == 18
    (again,) = hio(update=update).reconstruct([problem])
    assert torch.equal(again.x_hat, result.x_hat)


def test_error_reduction_alone_never_moves_away_from_y():
    problem = problem_of("weak")
    cycling = Cycling(problem, plan(cycles=0, er_cycles=50, restarts=3))
    gaps = []
    for cycle in range(1, 40):
        cycling.advance(cycle)
        spectrum = torch.fft.fft2(cycling.u, norm="ortho").abs()
        gaps.append((spectrum - cycling.amplitude).square().sum(dim=(-2, -1)))
    falls = torch.stack(gaps).diff(dim=0)
    assert (falls <= 1e-4).all()
    assert (gaps[-1] < 0.7 * gaps[0]).all()


def test_projections_are_projections_and_the_truth_stays():
    problem = problem_of("strong")
    cycling = Cycling(problem, plan(restarts=1))
    once = cycling.fitting(cycling.u)
    torch.testing.assert_close(cycling.fitting(once), once, rtol=1e-3, atol=1e-5)
    inside = cycling.inside(once)
    assert torch.equal(cycling.inside(inside), inside)
    truth = problem.reading.truth  # type: ignore[union-attr]
    cycling.u = torch.zeros_like(cycling.u)
    cycling.u[:, :24, :24] = torch.complex(truth[:, 0], truth[:, 1])
    before = cycling.u.clone()
    for update in ("hio", "raar"):
        cycling.plan = plan(update=update, shrink_every=0)
        cycling.advance(1)
        torch.testing.assert_close(cycling.u, before, rtol=1e-3, atol=1e-4)


def test_the_support_shrinks_to_the_object():
    problem = problem_of("weak")
    truth = problem.reading.truth  # type: ignore[union-attr]
    cycling = Cycling(problem, plan(restarts=1))
    cycling.projected = torch.zeros_like(cycling.u)
    cycling.projected[:, :24, :24] = torch.complex(truth[:, 0], truth[:, 1])
    cycling.shrink(1.0)
    bright = truth.square().sum(1).sqrt() > 0.5
    assert cycling.support[0, :24, :24][bright[0]].all()
    assert int(bright.sum()) < int(cycling.support.sum()) < 1.6 * int(bright.sum())


def test_what_the_beamstop_hides_is_free():
    task = DiffractionTask(2.0, photons=None, phase="weak", object="crystal", beamstop_px=2)
    problem = task.measure(torch.zeros(1, 1, 16, 16), seed=1)
    cycling = Cycling(problem, plan(restarts=1))
    spectrum = torch.fft.fft2(cycling.fitting(cycling.u), norm="ortho")
    own = torch.fft.fft2(cycling.u, norm="ortho")
    hidden = ~cycling.measured
    assert 0 < int(hidden.sum()) < 20
    torch.testing.assert_close(spectrum[:, hidden], own[:, hidden], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        spectrum.abs()[0][~hidden], cycling.amplitude[~hidden], rtol=1e-3, atol=1e-4
    )


def test_blurring_keeps_the_sum_and_spreads_as_a_gaussian():
    x = torch.zeros(1, 33, 33)
    x[0, 16, 16] = 1
    y = blurred(x, 2.0)[0]
    assert y.sum() == pytest.approx(1, abs=1e-5)
    places = torch.arange(33) - 16.0
    assert float((y.sum(1) * places.square()).sum()) == pytest.approx(4, rel=0.02)


def test_bad_arguments_are_refused_in_one_line():
    for changes, text in (
        ({"update": "oss"}, "method.update=oss is unknown; choose from hio, raar"),
        ({"cycles": 0}, "method.cycles=0 must be at least 1"),
        ({"er_cycles": -1}, "method.er_cycles=-1 must be at least 0"),
        ({"restarts": 0}, "method.restarts=0 must be at least 1"),
        ({"beta": 1.5}, "method.beta=1.5 must be in"),
        ({"threshold": 1.0}, "method.threshold=1.0 in"),
    ):
        with pytest.raises(UserError) as refusal:
            hio(**changes)
        assert text in str(refusal.value)
        assert "\n" not in str(refusal.value)
    noisy = DenoisingTask(0.1, clip=False).measure(torch.zeros(1, 1, 8, 8), seed=0)
    with pytest.raises(UserError, match="find objects from their far field"):
        hio().check(noisy, task="task=denoise")
