"""A complex object from two networks: ranges, the gain, what moves, restarts, another's start."""

from typing import Any

import pytest
import torch

from metadip import registry
from metadip.callbacks import ESWMV, FitCallback
from metadip.fitting import Adam, ByGroup, Sum, fit, mse
from metadip.methods import HIO, Restarted, after_another
from metadip.physics.far_field import as_complex, magnitude_of
from metadip.physics.symmetries import upright
from metadip.priors import Latent, LatentNetwork, MagnitudeAndPhase, SkipUNet
from metadip.tasks import DiffractionTask
from metadip.types import InverseProblem, UserError

GROUPS = ByGroup({"magnitude.*": Adam(lr=5e-3), "*": Adam(lr=5e-3), "inputs.*": Adam(lr=5e-3)})


def part(output: str) -> LatentNetwork:
    network: Any = SkipUNet(
        4, out_channels=1, channels=[8, 8], skip_channels=[4, 4], output=output  # type: ignore[arg-type]
    )  # fmt: skip
    return LatentNetwork(network, Latent(4, size_px=16, n_wavelengths=0))


def prior() -> MagnitudeAndPhase:
    return MagnitudeAndPhase(part("sigmoid"), part("linear"))


def problem_of(phase: str = "weak", seed: int = 0) -> InverseProblem:
    task = DiffractionTask(2.0, photons=None, phase=phase, object="crystal", beamstop_px=0)
    return task.measure(torch.zeros(1, 1, 16, 16), seed=seed)


def test_the_first_object_has_the_energy_of_y_and_its_parts_their_ranges():
    problem = problem_of()
    start = prior().start(problem)
    assert set(start.inputs) == {"z", "phase_z", "log_gain"}
    made = torch.func.functional_call(prior(), dict(start.weights), ((16, 16),), dict(start.inputs))
    x = made.x
    assert x.shape == (1, 2, 16, 16)
    torch.testing.assert_close(problem.physics.A(x).norm(), problem.y.norm())
    assert (magnitude_of(x) <= start.inputs["log_gain"].exp() + 1e-6).all()
    assert as_complex(x).angle().abs().max() > 0
    names = [name for name in start.weights if "layers" in name or "head.weight" in name]
    halves = [start.weights[name] for name in names if "head.weight" in name]
    assert not torch.equal(*halves)  # each draws its own


def test_the_phase_is_not_bounded():
    made = prior()
    start = made.start(problem_of())
    turned = dict(start.weights)
    name = next(n for n in turned if n.startswith("phase.") and n.endswith("head.bias"))
    with torch.no_grad():
        turned[name] = turned[name] + 1.5  # three quarters of a turn, beyond pi
    before, after = (
        as_complex(torch.func.functional_call(made, w, ((16, 16),), dict(start.inputs)).x)
        for w in (dict(start.weights), turned)
    )
    torch.testing.assert_close(after, -1j * before, rtol=1e-4, atol=1e-5)


def test_real_objects_are_made_by_the_magnitude_alone():
    real = prior().with_channels(1)
    start = real.start(problem_of("none"))
    made = torch.func.functional_call(real, dict(start.weights), ((16, 16),), dict(start.inputs))
    assert made.x.shape == (1, 1, 16, 16)
    assert (made.x >= 0).all()
    with pytest.raises(ValueError, match=r"objects have 1 channel \(real\) or 2, asked for 3"):
        prior().with_channels(3)
    with pytest.raises(ValueError, match="makes objects of 2 channels, asked for 1"):
        prior().start(problem_of("none"))


def test_the_fit_explains_y_and_the_gain_moves():
    problem = problem_of()
    (result,) = fit([problem], prior(), Sum(mse), GROUPS, steps=30)
    curve = result.curves["loss"]
    assert curve[-1] < 0.6 * curve[0]
    assert result.end is not None
    assert result.end.inputs["log_gain"] != prior().start(problem).inputs["log_gain"]


def test_description_rebuilds_it():
    made = prior()
    again = registry.build("representation", made.description)
    assert again.description == made.description


def test_the_try_that_explains_y_best_is_kept():
    problem = problem_of()
    method = Restarted(prior(), objective=Sum(mse), optimizer=GROUPS, steps=5, restarts=3)
    (result,) = method.reconstruct([problem])
    stated: Any = result.checks["restarts"]
    residuals = stated["residuals"]
    assert len(set(residuals)) == 3
    assert stated["kept"] == residuals.index(min(residuals))
    y_hat = problem.physics.A(result.x_hat)
    found = float((y_hat - problem.y).norm() / problem.y.norm())
    assert found == pytest.approx(min(residuals), rel=1e-4)
    alone = Restarted(prior(), objective=Sum(mse), optimizer=GROUPS, steps=5, restarts=1)
    (first,) = alone.reconstruct([problem])
    y_hat = problem.physics.A(first.x_hat)
    assert float((y_hat - problem.y).norm() / problem.y.norm()) == pytest.approx(residuals[0])
    with pytest.raises(UserError, match=r"method\.restarts=0 must be at least 1"):
        Restarted(prior(), objective=Sum(mse), optimizer=GROUPS, steps=5, restarts=0)


def test_a_fit_after_hio_starts_near_its_object():
    class First(FitCallback):
        def on_step_end(self, state: Any) -> None:
            if state.step == 0:
                self.x = state.x_hat.clone()

    problem = problem_of()
    hio = HIO(update="hio", cycles=100, er_cycles=20, beta=0.9, restarts=3, shrink_every=20,
              threshold=0.1)  # fmt: skip
    (of_hio,) = hio.reconstruct([problem])
    method = after_another(
        prior(), first=hio, first_steps=80, objective=Sum(mse), optimizer=GROUPS, steps=2
    )
    method.check(problem, task="task=cdi")
    first = First()
    (result,) = method.reconstruct([problem], hooks=[first])
    target = upright(of_hio.x_hat)
    assert as_complex(target).sum().angle().abs() < 1e-3
    distance = (first.x - target).norm() / target.norm()
    assert distance < 0.5  # the networks' own start is at about 1
    told = result.checks["first_and_fit"]
    assert told["residuals"][0] < told["residuals"][1]  # two steps are few
    assert told["kept"] == "first"
    torch.testing.assert_close(result.x_hat, of_hio.x_hat)
    with pytest.raises(UserError, match=r"method\.first_steps=0 must be at least 1"):
        after_another(prior(), first=hio, first_steps=0, objective=Sum(mse), optimizer=GROUPS,
                      steps=1)  # fmt: skip


def test_stopping_by_the_magnitude_ignores_a_turning_phase():
    """The phase of the script turns by itself: its parts vary, its magnitude does not."""
    from tests.callbacks.scripted import run_script

    generator = torch.Generator().manual_seed(0)
    size = 1 + torch.rand((1, 1, 4, 4), generator=generator)
    angles = torch.arange(12) * 0.7
    script = torch.stack([torch.cat([size * a.cos(), size * a.sin()], dim=1) for a in angles])
    by_parts, by_size = (
        run_script(script, [ESWMV(3, 50, min_start=0, magnitude=magnitude)]).curves["variance"]
        for magnitude in (False, True)
    )
    assert (by_parts[0, 2:] > 0.1).all()
    assert (by_size[0, 2:] < 1e-10).all()
