"""The engine: the same loop as ``fit``, and meta-gradients that finite differences confirm."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metadip.fitting import MomentumSGD, fit
from metadip.meta import Learner, StepWeights, build_learner, inner_optimizer
from metadip.priors import Prior
from metadip.types import FitState, InverseProblem
from tests.fitting.tiny import MSE_TV, Hook, sensed, tiny_prior

K = 3


def learner(**change: Any) -> Learner:
    arguments = {"multi_step_weight": 0.4, "multi_step_from": 1, "first_order": False}
    return build_learner("learn2learn", **{"inner_steps": K, **arguments, **change})


@pytest.fixture
def setting() -> tuple[Prior, MomentumSGD, InverseProblem]:
    """Return a prior, a rule whose step sizes all differ, and a sensing problem, in float64."""
    prior = tiny_prior().double()
    rule = inner_optimizer(
        prior.network,
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


def test_inner_loop_equals_the_loop_of_fit(setting: Any):
    prior, rule, problem = setting

    class Record(Hook):
        errors: list[Tensor] = []  # noqa: RUF012, one hook per test

        def on_step_end(self, state: FitState) -> None:
            self.errors.append((state.x_hat - problem.x).square().mean())

    fit([problem], prior, MSE_TV, rule, steps=K, hooks=[Record()])
    outcome = learner().outer_loss(prior, rule, MSE_TV, problem)
    errors = torch.stack(Record.errors).double()
    assert len(errors) == K + 1
    torch.testing.assert_close(outcome.step_losses, errors, rtol=1e-6, atol=1e-9)
    expected = 0.6 * errors[K] + 0.4 * errors[1:].mean()
    torch.testing.assert_close(outcome.loss.detach(), expected, rtol=1e-6, atol=1e-9)
    assert (errors[0] - errors[K]).abs() > 1e-3


def meta_gradients(setting: Any, **change: Any) -> dict[str, Tensor]:
    prior, rule, problem = copy.deepcopy(setting)
    learner(**change).outer_loss(prior, rule, MSE_TV, problem).loss.backward()
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


def test_meta_gradient_equals_finite_differences(setting: Any):
    prior, rule, problem = setting
    gradients = meta_gradients(setting)
    named = {**dict(prior.network.named_parameters()), **dict(rule.named_parameters())}
    eps = 1e-6
    for name, entry in ENTRIES:
        flat, losses = named[name].data.view(-1), []
        for sign in (1, -1):
            flat[entry] += sign * eps
            losses.append(learner().outer_loss(prior, rule, MSE_TV, problem).loss.item())
            flat[entry] -= sign * eps
        difference = (losses[0] - losses[1]) / (2 * eps)
        assert abs(difference) > 1e-8, name
        assert gradients[name].flatten()[entry].item() == pytest.approx(difference, rel=2e-4), name


def test_first_order_drops_the_second_derivatives(setting: Any):
    second, first = meta_gradients(setting), meta_gradients(setting, first_order=True)
    assert second.keys() == first.keys()
    a, b = second["scales.encode.0.weight"], first["scales.encode.0.weight"]
    assert (a - b).norm() > 0.01 * a.norm()
    prior, rule, problem = setting
    same = [
        learner(first_order=order).outer_loss(prior, rule, MSE_TV, problem).loss.item()
        for order in (False, True)
    ]
    assert same[0] == pytest.approx(same[1], rel=1e-12)


def test_base_weights_and_rule_are_unchanged_by_adaptation(setting: Any):
    prior, rule, problem = setting
    before = copy.deepcopy([prior.state_dict(), rule.state_dict()])
    one = learner().outer_loss(prior, rule, MSE_TV, problem)
    one.loss.backward()
    for module, kept in zip((prior, rule), before, strict=True):
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, kept[name]), name
    again = learner().outer_loss(prior, rule, MSE_TV, problem)
    torch.testing.assert_close(again.step_losses, one.step_losses, rtol=0, atol=0)


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
    combine = StepWeights(K, multi_step_weight=weight, multi_step_from=first)
    torch.testing.assert_close(combine.weights, torch.tensor(expected, dtype=torch.float32))
    losses = [torch.tensor(float(10**k)) for k in range(K + 1)]
    outcome = combine(losses)
    assert outcome.loss.item() == pytest.approx(sum(w * 10**k for k, w in enumerate(expected)))
    assert outcome.step_losses.tolist() == [1, 10, 100, 1000]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"inner_steps": 0}, "inner_steps must be at least 1, got 0"),
        ({"multi_step_weight": 1.5}, r"multi_step_weight must be in \[0, 1\], got 1.5"),
        ({"multi_step_from": 4}, r"multi_step_from must be in \[0, .*3\], got 4"),
        ({"multi_step_from": -1}, r"multi_step_from must be .*, got -1"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], text: str):
    with pytest.raises(ValueError, match=text):
        learner(**change)


def test_unknown_engine_and_missing_truth_are_refused(setting: Any):
    with pytest.raises(ValueError, match="engine must be one of learn2learn, got 'higher'"):
        build_learner(
            "higher", inner_steps=1, multi_step_weight=0, multi_step_from=0, first_order=True
        )
    prior, rule, problem = setting
    blind = replace(problem, x=None, name="face")
    with pytest.raises(ValueError, match="needs clean images, problem 'face' has none"):
        learner().outer_loss(prior, rule, MSE_TV, blind)
