"""The loop against plain optimisation and closed forms, and the independence of images."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from deepinv.physics import Denoising
from torch import Tensor

from metadip.fitting import Execution, MomentumSGD, fit
from metadip.fitting.unknowns import unknowns_of
from metadip.physics import GaussianSensing
from metadip.types import FitResult, FitState, InverseProblem, Start
from tests.fitting.tiny import (
    ADAM,
    EXACT,
    MSE,
    MSE_TV,
    SAME,
    Hook,
    StopImage,
    assert_same,
    image,
    linear_prior,
    look,
    noisy,
    sensed,
    tiny_fit,
    tiny_prior,
)

MODES = pytest.mark.parametrize("stacked", [False, True], ids=["looped", "stacked"])


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_result_is_the_network_after_exactly_so_many_updates(steps: int):
    prior, problem = tiny_prior(), noisy(0)
    (result,) = fit([problem], prior, MSE_TV, ADAM, steps=steps)
    network, z = copy.deepcopy(prior.network), prior.latent(8, 8)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for step in range(steps + 1):
        x_hat = network(z)
        loss = MSE_TV(look(x_hat, x_hat, problem.y)).sum()
        losses.append(loss.item())
        if step < steps:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.testing.assert_close(result.x_hat, x_hat.detach(), **SAME)
    torch.testing.assert_close(result.curves["loss"], torch.tensor(losses), **SAME)
    assert (result.steps, result.stop_step, result.stop_reason) == (steps, None, None)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("steps", [3, 60])
def test_closed_form_on_a_linear_prior(momentum: float, steps: int):
    """(w - w*, v) is multiplied by one matrix per step; w* solves the normal equations."""
    prior, problem, alpha = linear_prior(), sensed(1, 40, (2, 6, 6)), 0.05
    z, weight = prior.latent(6, 6), next(prior.network.parameters()).detach()
    basis = torch.eye(6, dtype=torch.float64).reshape(6, 2, 3)
    columns = torch.einsum("kcj,jhw->kchw", basis, z[0])  # the image of each weight
    forward = problem.physics.A(columns).T  # (M, 6)
    hessian = 2 * forward.T @ forward / 72
    best = torch.linalg.lstsq(forward, problem.y[0]).solution
    eye = torch.eye(6, dtype=torch.float64)
    top = torch.cat([eye - alpha * hessian, -alpha * momentum * eye], dim=1)
    update = torch.cat([top, torch.cat([hessian, momentum * eye], dim=1)])
    start = torch.cat([weight.flatten() - best, torch.zeros(6, dtype=torch.float64)])
    error = torch.linalg.matrix_power(update, steps) @ start
    expected = torch.einsum("k,kchw->chw", best + error[:6], columns)[None]
    rule = MomentumSGD(lr=alpha, momentum=momentum, n_steps=1).double()
    (result,) = fit([problem], prior, MSE, rule, steps=steps)
    torch.testing.assert_close(result.x_hat.double(), expected, rtol=1e-5, atol=1e-6)


@MODES
@pytest.mark.parametrize("learned", [False, True])
def test_an_image_is_the_same_alone_in_a_batch_and_in_another_order(stacked: bool, learned: bool):
    prior, problems = tiny_prior(learned=learned), [noisy(0), noisy(1), noisy(2)]

    def run(chosen: list[InverseProblem], *, stacked: bool = stacked) -> list[FitResult]:
        return tiny_fit(chosen, prior=prior, steps=4, stacked=stacked)

    together = run(problems)
    assert_same(run(problems[::-1])[::-1], together, **SAME)
    assert_same([run([problem])[0] for problem in problems], together, **SAME)
    assert_same(run(problems, stacked=not stacked), together, **SAME)
    assert_same(run(problems), together, **EXACT)
    assert (together[0].x_hat - together[1].x_hat).abs().max() > 1e-3


@MODES
def test_images_of_several_sizes_keep_their_order(stacked: bool):
    problems = [noisy(0), noisy(1, (3, 9, 5)), noisy(2)]
    results = tiny_fit(problems, steps=2, stacked=stacked)
    assert [tuple(r.x_hat.shape[1:]) for r in results] == [p.image_shape for p in problems]
    alone = tiny_fit(problems[1:2], steps=2)
    assert_same(results[1:2], alone, **SAME)


@MODES
def test_an_image_that_stops_leaves_and_the_others_do_not_notice(stacked: bool):
    problems = [noisy(0), noisy(1), noisy(2)]

    def run(hooks: Sequence[Any]) -> list[FitResult]:
        return tiny_fit(problems, steps=5, hooks=hooks, stacked=stacked)

    full, stopped = run([]), run([StopImage({1: 2})])
    assert_same([stopped[0], stopped[2]], [full[0], full[2]], **SAME)
    assert (stopped[1].steps, stopped[1].stop_step) == (2, 2)
    assert stopped[1].stop_reason == "scripted"
    torch.testing.assert_close(stopped[1].curves["loss"], full[1].curves["loss"][:3], **SAME)
    short = tiny_fit(problems[1:2], steps=2)
    torch.testing.assert_close(stopped[1].x_hat, short[0].x_hat, **SAME)


def test_stopped_images_really_leave_the_batch():
    class Watch(Hook):
        seen: list[list[int]] = []  # noqa: RUF012, one watch per test

        def on_step_end(self, state: FitState) -> None:
            self.seen.append(state.active.tolist())
            assert (
                len(state.x_hat) == len(state.inputs["z"]) == len(state.loss) == len(state.active)
            )

    stop = StopImage({0: 1, 1: 0, 2: 2})
    problems = [noisy(0), noisy(1), noisy(2)]
    results = tiny_fit(problems, steps=50, hooks=[stop, Watch()], stacked=True)
    assert Watch.seen == [[0, 1, 2], [0, 2], [2]]
    assert [r.steps for r in results] == [1, 0, 2]


@MODES
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_gradients_are_found_where_they_are_switched_off(mode: Any, stacked: bool):
    prior, problems = tiny_prior(learned=False), [noisy(0), noisy(1)]
    expected = tiny_fit(problems, prior=prior, steps=3, stacked=stacked)
    with mode():
        moved = [replace(p, y=p.y + 0, x=None) for p in problems]
        results = tiny_fit(moved, prior=prior, steps=3, stacked=stacked)
    assert_same(results, expected, **EXACT)
    assert not results[0].x_hat.is_inference()


@MODES
def test_the_ground_truth_is_not_looked_at(stacked: bool):
    problems = [noisy(0), noisy(1)]
    blind = [replace(p, x=torch.full_like(p.y, torch.nan)) for p in problems]
    a = tiny_fit(problems, steps=3, stacked=stacked)
    assert_same(tiny_fit(blind, steps=3, stacked=stacked), a, **EXACT)


@MODES
def test_shared_and_own_operators_give_the_same(stacked: bool):
    def physics() -> GaussianSensing:
        return GaussianSensing((3, 8, 8), n_measurements=60, seed=4, max_bytes=10**6)

    one = physics()
    shared = [InverseProblem(one.A(image(i)), one, (3, 8, 8), seed=i) for i in range(3)]
    own = [replace(problem, physics=physics()) for problem in shared]
    a, b = (tiny_fit(p, steps=4, stacked=stacked) for p in (shared, own))
    assert_same(a, b, **SAME)


def test_bf16_is_near_float32_and_leaves_the_operator_in_float32():
    seen = []

    class Watch(Denoising):
        def A(self, x: Tensor, **kwargs: Any) -> Tensor:
            seen.append((x.dtype, (torch.ones(2, 2) @ torch.ones(2, 2)).dtype))
            return x

    problem = replace(noisy(0), physics=Watch())
    prior = tiny_prior()
    (low,) = fit([problem], prior, MSE, ADAM, steps=3, execution=Execution(precision="bf16"))
    assert set(seen) == {(torch.float32, torch.float32)}
    (full,) = fit([problem], prior, MSE, ADAM, steps=3)
    difference = (low.x_hat - full.x_hat).abs().max()
    assert 0 < difference < 0.05
    assert low.x_hat.dtype == torch.float32


def test_hooks_are_called_in_order_around_every_step():
    calls: list[str] = []

    class Named(Hook):
        def __init__(self, name: str) -> None:
            self.name = name

        def __getattribute__(self, attribute: str) -> Any:
            if attribute.startswith("on_"):
                return lambda state: calls.append(f"{self.name} {attribute[3:]} {state.step}")
            return super().__getattribute__(attribute)

    tiny_fit([noisy(0)], steps=1, hooks=[Named("a"), Named("b")])
    moments = [
        ("reconstruction_start", 0), ("step_start", 0), ("step_end", 0),
        ("update_end", 0), ("step_start", 1), ("step_end", 1), ("reconstruction_end", 1),
    ]  # fmt: skip
    assert calls == [f"{name} {moment} {step}" for moment, step in moments for name in "ab"]


def test_what_a_hook_writes_into_the_output_is_returned_and_jitter_lasts_one_step():
    class Change(Hook):
        inputs: list[Tensor] = []  # noqa: RUF012, one hook per test

        def on_step_start(self, state: FitState) -> None:
            z = state.inputs["z"]
            self.inputs.append(z)
            state.jitter["z"] = z.square() - z

        def on_reconstruction_end(self, state: FitState) -> None:
            state.output.fill_(0.25)

    (result,) = tiny_fit([noisy(0)], steps=2, hooks=[Change()])
    assert torch.equal(result.x_hat, torch.full((1, 3, 8, 8), 0.25))
    assert all(torch.equal(z, Change.inputs[0]) for z in Change.inputs)
    (plain,) = tiny_fit([noisy(0)], steps=2)
    assert not torch.allclose(result.curves["loss"], plain.curves["loss"])


@MODES
def test_prior_and_global_random_stream_are_unchanged(stacked: bool):
    for learned in (True, False):
        prior = tiny_prior(learned=learned)
        before, stream = copy.deepcopy(prior.state_dict()), torch.get_rng_state()
        tiny_fit([noisy(0), noisy(1)], prior=prior, steps=2, stacked=stacked)
        assert torch.equal(torch.get_rng_state(), stream)
        for name, tensor in prior.state_dict().items():
            assert torch.equal(tensor, before[name]), name
        assert all(p.grad is None for p in prior.parameters())


@pytest.mark.parametrize(
    ("problems", "change", "text"),
    [
        ([noisy(0)], {"steps": -1}, "steps must be at least 0, got -1"),
        ([], {}, "nothing to fit: the list of problems is empty"),
    ],
)
def test_bad_arguments_are_refused(problems: Any, change: dict[str, Any], text: str):
    with pytest.raises(ValueError, match=text):
        fit(problems, tiny_prior(), MSE, ADAM, **{"steps": 1, **change})


def test_a_start_that_does_not_name_the_weights_in_their_order_is_refused():
    prior = tiny_prior()
    start = prior.start(noisy(0))
    weights = dict(start.weights)
    for changed in (dict(reversed(weights.items())), dict(list(weights.items())[1:])):
        other = Start(changed, start.inputs)
        for starts in ([other], [start, other]):
            with pytest.raises(ValueError, match="does not name the weights"):
                unknowns_of(prior, starts, tuple(weights), size=(8, 8), autocast=None)
