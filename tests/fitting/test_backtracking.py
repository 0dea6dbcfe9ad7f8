"""Going back after a divergence, by scripted spikes of the latent whose outcome is known."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metadip.callbacks import ESWMV, LatentJitter, OutputEMA
from metadip.fitting import Backtracking, Execution, MomentumSGD, Sum, fit, mse
from metadip.priors import LatentNetwork
from metadip.types import Estimate, FitState, InverseProblem, Named
from tests.fitting.tiny import (
    ADAM,
    EXACT,
    MSE,
    SAME,
    Hook,
    assert_same,
    noisy,
    tiny_fit,
    tiny_prior,
)

MODES = pytest.mark.parametrize("stacked", [False, True], ids=["looped", "stacked"])
RULE = Backtracking(drop_db=5, check_every=4, max_rollbacks=2)


class Spike(Hook):
    """Multiply the latent of one image, named by its seed, at chosen steps."""

    def __init__(self, steps: Sequence[int], *, seed: int = 1, factor: float = torch.inf) -> None:
        self.steps, self.seed, self.factor = steps, seed, factor

    def on_step_start(self, state: FitState) -> None:
        if state.step in self.steps:
            seeds = [state.problems[i].seed for i in state.active.tolist()]
            factors = torch.tensor([self.factor if s == self.seed else 1.0 for s in seeds])
            z = state.inputs["z"]
            state.jitter["z"] = z * factors[:, None, None, None] - z


class SpoilWeights(Hook):
    """Make the weights of one image's network infinite, or scale them, once."""

    def __init__(self, step: int, *, row: int, factor: float) -> None:
        self.step, self.row, self.factor = step, row, factor

    def on_step_start(self, state: FitState) -> None:
        if state.step == self.step:
            for weight in state.weights.values():
                weight[0 if len(state.problems) == 1 else self.row].mul_(self.factor)


class Watch(Hook):
    """Keep what hooks are shown."""

    def __init__(self) -> None:
        self.x_hats: list[Tensor] = []
        self.losses: list[Tensor] = []

    def on_step_end(self, state: FitState) -> None:
        self.x_hats.append(state.x_hat.clone())
        self.losses.append(state.loss.clone())


def problems() -> list[Any]:
    return [noisy(0), noisy(1), noisy(2)]


@MODES
def test_an_image_goes_back_to_the_last_check_and_the_others_do_not_notice(stacked: bool):
    watch, rule = Watch(), MomentumSGD(lr=0.05, momentum=0.5, n_steps=1)
    execution = Execution(stacked=True, backtracking=RULE)
    (plain,) = fit([noisy(1)], tiny_prior(), MSE, rule, steps=12, execution=execution)
    results = fit(
        problems(), tiny_prior(), MSE, rule, steps=12, hooks=[Spike([6]), watch],
        execution=Execution(stacked=stacked, backtracking=RULE),
    )  # fmt: skip
    assert [r.rollbacks for r in results] == [0, 1, 0]
    assert [r.stop_step for r in results] == [None, None, None]
    assert all(x_hat.isfinite().all() for x_hat in watch.x_hats)
    curve = results[1].curves["loss"]
    assert curve.isnan().nonzero().flatten().tolist() == [6]
    # Step 4 was accepted: what follows step 6 repeats what followed step 4, momentum included.
    torch.testing.assert_close(curve[7:], plain.curves["loss"][4:10], **SAME)
    others = tiny_fit([noisy(0), noisy(2)], steps=12, stacked=stacked, backtracking=RULE)
    again = tiny_fit(problems(), steps=12, hooks=[Spike([6])], stacked=stacked, backtracking=RULE)
    assert_same([again[0], again[2]], others, **SAME)


@MODES
@pytest.mark.parametrize("factor", [torch.inf, 30.0], ids=["not finite", "collapse"])
def test_spoilt_weights_and_moments_are_restored(stacked: bool, factor: float):
    """The weights stay spoilt until someone restores them; a finite collapse is seen at step 8."""
    hook = SpoilWeights(6, row=1, factor=factor)
    chosen = problems() if stacked else [noisy(1)]
    result = tiny_fit(chosen, steps=10, hooks=[hook], stacked=stacked, backtracking=RULE)[-2:][0]
    (plain,) = tiny_fit([noisy(1)], steps=10, stacked=True, backtracking=RULE)
    assert result.rollbacks == 1
    gap = 6 if factor == torch.inf else 8
    assert result.curves["loss"].isnan().nonzero().flatten().tolist() == [gap]
    torch.testing.assert_close(result.curves["loss"][gap + 1], plain.curves["loss"][4], **SAME)
    assert bool(result.x_hat.isfinite().all())


def test_a_rise_below_the_threshold_is_let_be():
    hook = SpoilWeights(6, row=1, factor=1.5)
    loose = Backtracking(drop_db=40, check_every=4, max_rollbacks=2)
    (result,) = tiny_fit([noisy(1)], steps=10, hooks=[hook], backtracking=loose)
    assert result.rollbacks == 0
    assert bool(result.curves["loss"].isfinite().all())


@MODES
def test_after_so_many_rollbacks_in_a_row_the_image_stops_with_its_accepted_output(stacked: bool):
    hooks = [Spike([5, 6, 7])]
    results = tiny_fit(problems(), steps=12, hooks=hooks, stacked=stacked, backtracking=RULE)
    assert results[1].rollbacks == RULE.max_rollbacks
    assert results[1].stop_step == results[1].steps == 7
    assert results[1].stop_reason == (
        "diverged: the loss is not finite at step 7, after 2 rollbacks in a row"
    )
    (accepted,) = tiny_fit([noisy(1)], steps=4, stacked=stacked)
    torch.testing.assert_close(results[1].x_hat, accepted.x_hat, **SAME)
    assert [results[i].steps for i in (0, 2)] == [12, 12]


def test_an_accepted_check_forgives_earlier_rollbacks():
    hooks = [Spike([1, 2, 5, 6, 9, 10])]
    (result,) = tiny_fit([noisy(1)], steps=12, hooks=hooks, backtracking=RULE)
    assert (result.rollbacks, result.stop_step) == (6, None)


@MODES
def test_a_collapse_at_the_last_step_is_not_returned(stacked: bool):
    hooks = [SpoilWeights(10, row=1, factor=30.0)]
    chosen = problems() if stacked else [noisy(1)]
    result = tiny_fit(chosen, steps=10, hooks=hooks, stacked=stacked, backtracking=RULE)[-2:][0]
    (accepted,) = tiny_fit([noisy(1)], steps=8, stacked=stacked)
    torch.testing.assert_close(result.x_hat, accepted.x_hat, **SAME)
    assert (result.rollbacks, result.steps, result.stop_step) == (1, 10, None)


@MODES
def test_nothing_to_go_back_to(stacked: bool):
    bad = replace(noisy(1), y=torch.full((1, 3, 8, 8), torch.nan))
    results = tiny_fit([noisy(0), bad, noisy(2)], steps=3, stacked=stacked)
    full = tiny_fit([noisy(0), noisy(2)], steps=3, stacked=stacked)
    assert_same([results[0], results[2]], full, **SAME)
    assert (results[1].stop_step, results[1].rollbacks) == (0, 0)
    assert results[1].stop_reason == "diverged: the loss is not finite at step 0"
    assert bool(results[1].x_hat.isfinite().all())


def test_without_backtracking_a_diverged_image_keeps_the_iterate_before():
    (result,) = tiny_fit([noisy(1)], steps=5, hooks=[Spike([2])], backtracking=None)
    (before,) = tiny_fit([noisy(1)], steps=1)
    assert (result.stop_step, result.rollbacks) == (2, 0)
    torch.testing.assert_close(result.x_hat, before.x_hat, **EXACT)


def test_averages_windows_and_jitter_survive():
    """The jitter after the gap is drawn further on: the way is another one, not a repetition."""
    hooks = [LatentJitter(0.1), Spike([6]), OutputEMA(0.9, bias_correction=True)]
    (result,) = tiny_fit([noisy(1)], steps=12, hooks=hooks, backtracking=RULE)
    (plain,) = tiny_fit([noisy(1)], steps=12, hooks=[hooks[0], hooks[2]], backtracking=RULE)
    torch.testing.assert_close(result.curves["loss"][:6], plain.curves["loss"][:6], **EXACT)
    assert not torch.allclose(result.curves["loss"][7:9], plain.curves["loss"][5:7])
    rule = ESWMV(2, 100, min_start=0)
    (result,) = tiny_fit([noisy(1)], steps=12, hooks=[Spike([6]), rule], backtracking=RULE)
    assert result.curves["variance"].isnan().nonzero().flatten().tolist() == [0, 6]
    assert bool(result.x_hat.isfinite().all())


@MODES
def test_averaging_goes_on_from_the_accepted_average(stacked: bool):
    """Spoilt after step 5, seen at step 8, back to step 4: steps 5 to 7 leave no trace."""

    class Outputs(Hook):
        seen: list[Tensor] = []  # noqa: RUF012, one hook per run
        x_hats: list[Tensor] = []  # noqa: RUF012

        def on_step_end(self, state: FitState) -> None:
            self.seen.append(state.output[-1:].clone())
            self.x_hats.append(state.x_hat[-1:].clone())

    Outputs.seen, Outputs.x_hats = [], []
    decay = 0.9
    hooks = [
        SpoilWeights(5, row=-1, factor=30.0),
        OutputEMA(decay, bias_correction=True),
        Outputs(),
    ]
    chosen = [noisy(0), noisy(1)] if stacked else [noisy(1)]
    result = tiny_fit(chosen, steps=9, hooks=hooks, stacked=stacked, backtracking=RULE)[-1]
    assert result.rollbacks == 1
    seen, x_hats = Outputs.seen, Outputs.x_hats
    assert (seen[7] - seen[4]).abs().max() > 0.01
    torch.testing.assert_close(seen[8], seen[4], **SAME)
    mean = seen[4] * (1 - decay**9) * decay + (1 - decay) * x_hats[9]
    torch.testing.assert_close(seen[9], mean / (1 - decay**10), **SAME)


def test_a_learned_rule_that_has_handed_over_since_the_check_goes_back_too():
    """At step 4 its state held velocities alone; second moments have joined since."""
    rule = MomentumSGD(lr=0.05, momentum=0.5, n_steps=5, beyond="adam", adam_lr=1e-3)
    execution = Execution(stacked=True, backtracking=RULE)
    results = fit(
        problems(), tiny_prior(), MSE, rule, steps=12, hooks=[Spike([7])], execution=execution
    )
    assert [r.rollbacks for r in results] == [0, 1, 0]
    loss = results[1].curves["loss"]
    torch.testing.assert_close(loss[8], loss[4], **SAME)
    assert loss[12] < loss[8]


def test_snapshots_belong_to_the_images_that_stay():
    class Stop(Hook):
        def on_step_end(self, state: FitState) -> None:
            if state.step == 5 and 0 in state.active.tolist():
                state.stop(state.active == 0, "scripted")

    hooks = [Spike([6]), Stop()]
    results = tiny_fit(problems(), steps=9, hooks=hooks, stacked=True, backtracking=RULE)
    alone = tiny_fit([noisy(1)], steps=9, hooks=[Spike([6])], backtracking=RULE)
    assert results[0].steps == 5
    assert_same(results[1:2], alone, **SAME)


@MODES
def test_an_objective_may_be_negative(stacked: bool):
    """The data term falls all along; only a loss below zero looks like a rise of 5 dB."""
    negative = Sum(mse, {"offset": lambda seen: -10 - 0 * mse(seen)})
    execution = Execution(stacked=stacked, backtracking=RULE)
    results = fit(problems(), tiny_prior(), negative, ADAM, steps=12, execution=execution)
    assert [r.rollbacks for r in results] == [0, 0, 0]
    assert all((r.curves["loss"] < -9).all() for r in results)
    hooks = [SpoilWeights(6, row=1, factor=30.0)]
    spoilt = fit(
        problems(), tiny_prior(), negative, ADAM, steps=12, hooks=hooks,
        execution=Execution(stacked=True, backtracking=RULE),
    )  # fmt: skip
    assert [r.rollbacks for r in spoilt] == [0, 1, 0]


class Drift(LatentNetwork):
    """A latent that grows by a tenth of itself from step to step."""

    def refresh(
        self, inputs: Named, estimate: Estimate, problem: InverseProblem, step: int
    ) -> Named:
        return {"z": inputs["z"] * 1.1}


@MODES
def test_refreshed_inputs_go_back_too(stacked: bool):
    tiny = tiny_prior()
    prior = Drift(tiny.network, tiny.latent, learned=True)
    seen: dict[int, Tensor] = {}

    class WatchInputs(Hook):
        def on_step_end(self, state: FitState) -> None:
            seen[state.step] = state.inputs["z"][-1].clone()

    hooks = [Spike([6]), WatchInputs()]
    chosen = [noisy(0), noisy(1)] if stacked else [noisy(1)]
    execution = Execution(stacked=stacked, backtracking=RULE)
    (*_, result) = fit(chosen, prior, MSE, ADAM, steps=8, hooks=hooks, execution=execution)
    assert result.rollbacks == 1
    z = tiny.latent(8, 8)[0]
    torch.testing.assert_close(seen[6], z * 1.1**6)
    torch.testing.assert_close(seen[7], z * 1.1**4)  # as step 4 was accepted
    torch.testing.assert_close(seen[8], z * 1.1**5)


@pytest.mark.parametrize("change", [{"drop_db": 0}, {"check_every": 0}, {"max_rollbacks": 0}])
def test_bad_settings_are_refused(change: dict[str, int]):
    with pytest.raises(ValueError, match="need drop_db > 0, check_every >= 1 and max_rollbacks >="):
        Backtracking(**change)
