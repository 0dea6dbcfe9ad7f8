"""Both engines: the same loop as ``fit``, and meta-gradients that finite differences confirm."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metadip.fitting import MomentumSGD, fit
from metadip.meta import (
    ENGINES,
    Curriculum,
    FunctionalOptions,
    InnerLoopSchedule,
    Learner,
    build_learner,
    inner_optimizer,
)
from metadip.meta.learn2learn_maml import Learn2LearnMAML
from metadip.priors import LatentNetwork
from metadip.types import FitState, InverseProblem
from tests.fitting.tiny import MSE_TV, Hook, sensed, tiny_prior

K = 3


def learner(engine: str, **change: Any) -> Learner:
    arguments = {
        "inner_steps": K,
        "multi_step_weight": 0.4,
        "multi_step_from": 1,
        "log_error": False,
        "first_order": False,
        "curriculum": Curriculum(),
        "functional": FunctionalOptions(),
    }
    return build_learner(engine, **{**arguments, **change})


@pytest.fixture
def setting() -> tuple[LatentNetwork, MomentumSGD, InverseProblem]:
    """Return a prior, a rule whose step sizes all differ, and a sensing problem, in float64."""
    prior = tiny_prior().double()
    rule = inner_optimizer(
        prior,
        lr=0.2,
        momentum=0.6,
        n_steps=K,
        per_tensor=True,
        lr_bounds=(1e-3, 1.0),
        beyond="hold",
    ).double()
    with torch.no_grad():
        rule.log_lr.add_(
            0.3
            * torch.randn(
                rule.log_lr.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
            )
        )
    return prior, rule, sensed(3, 90, (3, 8, 8))


@pytest.mark.parametrize("engine", ENGINES)
def test_inner_loop_equals_the_loop_of_fit(setting: Any, engine: str):
    prior, rule, problem = setting

    class Record(Hook):
        errors: list[Tensor] = []  # noqa: RUF012, one hook per test

        def on_step_end(self, state: FitState) -> None:
            self.errors.append((state.x_hat - problem.x).square().mean())

    fit([problem], prior, MSE_TV, rule, steps=K, hooks=[Record()])
    outcome = learner(engine).outer_loss(prior, rule, MSE_TV, [problem])
    errors = torch.stack(Record.errors).double()
    assert len(errors) == K + 1
    torch.testing.assert_close(outcome.step_errors, errors[None], rtol=1e-6, atol=1e-9)
    expected = 0.6 * errors[K] + 0.4 * errors[1:].mean()
    torch.testing.assert_close(outcome.loss.detach(), expected, rtol=1e-6, atol=1e-9)
    assert (errors[0] - errors[K]).abs() > 1e-3


@pytest.mark.parametrize("floor", [0.0, 0.01])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_logarithm_weighs_each_task_by_its_own_error(setting: Any, engine: str, floor: float):
    prior, rule, problem = setting
    easy = sensed(4, 90, (3, 8, 8))
    assert easy.x is not None
    easy = replace(easy, x=easy.x * 0.5 + 0.25)
    log_learner = learner(engine, log_error=True, log_floor=floor, multi_step_weight=0.0)
    outcome = log_learner.outer_loss(prior, rule, MSE_TV, [problem, easy])
    last = outcome.step_errors[:, -1]
    torch.testing.assert_close(outcome.loss.detach(), (last + floor).log().mean())
    outcome.loss.backward()
    expected = torch.zeros_like(prior.network.head.weight)
    for task, error in zip((problem, easy), last, strict=True):
        alone = copy.deepcopy((prior, rule))
        plain = learner(engine, multi_step_weight=0.0)
        for parameter in alone[0].parameters():
            parameter.grad = None
        plain.outer_loss(*alone, MSE_TV, [task]).loss.backward()
        expected += alone[0].network.head.weight.grad / (error + floor) / 2
    torch.testing.assert_close(prior.network.head.weight.grad, expected, rtol=1e-7, atol=1e-10)
    assert abs(last[0] / last[1] - 1) > 0.1


def meta_gradients(setting: Any, engine: str, **change: Any) -> dict[str, Tensor]:
    prior, rule, problem = copy.deepcopy(setting)
    learner(engine, **change).outer_loss(prior, rule, MSE_TV, [problem]).loss.backward()
    named = [*prior.network.named_parameters(), *rule.named_parameters()]
    return {name: p.grad for name, p in named if p.grad is not None}


ENTRIES = [
    ("scales.encode.0.weight", 5),
    ("scales.skip.0.weight", 3),
    ("scales.decode.3.weight", 2),
    ("head.weight", 7),
    ("head.bias", 1),
    ("log_lr", 0),
    ("log_lr", -1),
    ("momentum_logit", 0),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_meta_gradient_equals_finite_differences(setting: Any, engine: str):
    prior, rule, problem = setting
    gradients = meta_gradients(setting, engine)
    named = {**dict(prior.network.named_parameters()), **dict(rule.named_parameters())}
    eps = 1e-6
    for name, entry in ENTRIES:
        flat, losses = named[name].data.view(-1), []
        for sign in (1, -1):
            flat[entry] += sign * eps
            losses.append(learner(engine).outer_loss(prior, rule, MSE_TV, [problem]).loss.item())
            flat[entry] -= sign * eps
        difference = (losses[0] - losses[1]) / (2 * eps)
        assert abs(difference) > 1e-8, name
        assert gradients[name].flatten()[entry].item() == pytest.approx(difference, rel=2e-4), name


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"first_order": True},
        {"multi_step_weight": 0.0},
        {"curriculum": Curriculum(truncate_steps=1)},
        {"curriculum": Curriculum(anneal_steps=3)},
        {"curriculum": Curriculum(grow_from=1, grow_steps=3)},
    ],
)
def test_engines_agree(setting: Any, change: dict[str, Any]):
    ours, theirs = (meta_gradients(setting, engine, **change) for engine in reversed(ENGINES))
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-9, atol=1e-13, msg=name)


def test_fewer_second_derivatives_change_the_gradient_and_not_the_loss(setting: Any):
    changes: list[dict[str, Any]] = [
        {},
        {"curriculum": Curriculum(truncate_steps=1)},
        {"first_order": True},
    ]
    exact, truncated, first = (
        meta_gradients(setting, "functional", **change)["scales.encode.0.weight"]
        for change in changes
    )
    assert (exact - first).norm() > 0.01 * exact.norm()
    assert (exact - truncated).norm() > 0.005 * exact.norm()
    assert (truncated - first).norm() > 0.005 * exact.norm()
    prior, rule, problem = setting
    losses = [
        learner("functional", **change).outer_loss(prior, rule, MSE_TV, [problem]).loss.item()
        for change in changes
    ]
    assert losses == [losses[0]] * 3


@pytest.mark.parametrize("engine", ENGINES)
def test_base_weights_and_rule_are_unchanged_by_adaptation(setting: Any, engine: str):
    prior, rule, problem = setting
    before = copy.deepcopy([prior.state_dict(), rule.state_dict()])
    one = learner(engine).outer_loss(prior, rule, MSE_TV, [problem])
    one.loss.backward()
    for module, kept in zip((prior, rule), before, strict=True):
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, kept[name]), name
    again = learner(engine).outer_loss(prior, rule, MSE_TV, [problem])
    torch.testing.assert_close(again.step_errors, one.step_errors, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("weight", "first", "expected"),
    [
        (0.0, 0, [0, 0, 0, 1]),
        (1.0, 0, [0.25, 0.25, 0.25, 0.25]),
        (0.6, 1, [0, 0.2, 0.2, 0.6]),
        (0.5, 3, [0, 0, 0, 1]),
    ],
)
def test_weights_of_the_steps(weight: float, first: int, expected: list[float]):
    plan = schedule(multi_step_weight=weight, multi_step_from=first).at(0)
    torch.testing.assert_close(plan.weights, torch.tensor(expected, dtype=torch.float32))
    losses = torch.tensor([[1.0, 10.0, 100.0, 1000.0], [0.0, 0.0, 0.0, 0.0]])
    outcome = plan.combine(losses)
    assert outcome.loss.item() == pytest.approx(sum(w * 10**k for k, w in enumerate(expected)) / 2)
    assert torch.equal(outcome.step_errors, losses)


def schedule(curriculum: Curriculum = Curriculum(), **change: Any) -> InnerLoopSchedule:  # noqa: B008, frozen
    arguments = {"multi_step_weight": 0.4, "multi_step_from": 2, "first_order": False}
    return InnerLoopSchedule(K, curriculum=curriculum, **{**arguments, **change})


def test_inner_loop_grows_and_second_derivatives_come_in():
    grown = schedule(Curriculum(grow_from=1, grow_steps=4))
    assert [grown.at(n).steps for n in range(6)] == [1, 1, 2, 2, 3, 3]
    for n in range(6):
        plan = grown.at(n)
        assert len(plan.weights) == plan.steps + 1
        assert plan.weights.sum().item() == pytest.approx(1)
        assert plan.first_order_steps == 0
    annealed = schedule(Curriculum(anneal_steps=6))
    assert [annealed.at(n).first_order_steps for n in range(8)] == [3, 3, 2, 2, 1, 1, 0, 0]
    assert schedule(Curriculum(truncate_steps=2)).at(0).first_order_steps == 1
    assert schedule(Curriculum(anneal_steps=6), first_order=True).at(9).first_order_steps == K


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"inner_steps": -1}, "inner_steps must be at least 0, got -1"),
        ({"multi_step_weight": 1.5}, r"multi_step_weight must be in \[0, 1\], got 1.5"),
        ({"multi_step_from": 4}, r"multi_step_from must be in \[0, .*3\], got 4"),
        ({"multi_step_from": -1}, r"multi_step_from must be .*, got -1"),
        ({"log_error": True, "log_floor": -1.0}, "log_floor must be at least 0, .* got -1"),
        ({"log_floor": 1e-5}, "log_floor .* goes with log_error, got 1e-05"),
        ({"curriculum": Curriculum(truncate_steps=4)}, "truncate_steps must be at most .*3, got 4"),
        (
            {"curriculum": Curriculum(grow_from=9, grow_steps=1)},
            "grow_from must be at most inner_steps=3, got 9",
        ),
        (
            {"functional": FunctionalOptions(reptile=True)},
            "no option under functional but keep_graphs",
        ),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], text: str):
    with pytest.raises(ValueError, match=text):
        learner("learn2learn", **change)


def test_graphs_kept_are_no_change_of_learn2learn():
    options = FunctionalOptions(keep_graphs=True)
    assert isinstance(learner("learn2learn", functional=options), Learn2LearnMAML)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Curriculum(truncate_steps=0), "truncate_steps must be at least 1, got 0"),
        (lambda: Curriculum(grow_from=0), "grow_from must be at least 1, got 0"),
        (lambda: Curriculum(anneal_steps=-1), "anneal_steps must be at least 0, got -1"),
        (lambda: Curriculum(grow_steps=-2), "grow_steps must be at least 0, got -2"),
        (lambda: Curriculum(grow_from=2), "go together, got 2 and 0"),
        (lambda: Curriculum(grow_steps=2), "go together, got None and 2"),
        (lambda: FunctionalOptions(keep_every=0), "keep_every must be at least 1, .* got 0"),
        (
            lambda: FunctionalOptions(keep_every=2, keep_graphs=True),
            "above 1 needs functional.keep_graphs=false, got 2",
        ),
    ],
)
def test_bad_options_are_refused(make: Callable[[], Any], text: str):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize("engine", ENGINES)
def test_missing_truth_is_refused(setting: Any, engine: str):
    prior, rule, problem = setting
    blind = replace(problem, x=None, name="face")
    with pytest.raises(ValueError, match="needs clean images, problem 'face' has none"):
        learner(engine).outer_loss(prior, rule, MSE_TV, [blind])


def test_unknown_engine_is_refused():
    with pytest.raises(ValueError, match="engine must be one of learn2learn, functional, got 'hi'"):
        learner("hi")
