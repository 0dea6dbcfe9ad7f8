"""Update rules against torch's own, by hand, and as differentiable functions."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from metadip.fitting import SGD, Adam, Execution, MomentumSGD, MultiStep, RAdam, fit
from metadip.fitting.rules import Rule as Optimizer
from tests.fitting.tiny import MSE, StopImage, linear_prior, sensed

MOMENTUM: dict[str, Any] = {"lr": 0.1, "momentum": 0.5, "n_steps": 3}
SHAPES = ((3, 2), (4,))


def draws(seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES)


def run(rule: Optimizer, params: tuple[Tensor, ...], grads: list[Any]) -> tuple[Tensor, ...]:
    state = rule.init(params)
    for step, g in enumerate(grads):
        params, state = rule.update(params, g, state, step)
    return params


@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        (
            MomentumSGD(lr=0.1, momentum=0.9, n_steps=2).double(),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        ),
        (
            MomentumSGD(lr=0.1, momentum=0.0, n_steps=9).double(),
            lambda p: torch.optim.SGD(p, lr=0.1),
        ),
        (
            Adam(lr=0.03, betas=(0.8, 0.95), eps=1e-3),
            lambda p: torch.optim.Adam(p, lr=0.03, betas=(0.8, 0.95), eps=1e-3),
        ),
        (
            RAdam(lr=0.03, betas=(0.8, 0.95), eps=1e-3),
            lambda p: torch.optim.RAdam(p, lr=0.03, betas=(0.8, 0.95), eps=1e-3),
        ),
        (SGD(lr=0.1, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    ],
    ids=["momentum", "no momentum", "adam", "radam", "sgd"],
)
def test_rules_equal_those_of_torch(rule: Any, reference: Any):
    start, grads = draws(0), [draws(i) for i in range(1, 8)]
    kept = [p.clone() for p in start]
    ours = run(rule, start, grads)
    leaves = [p.clone().requires_grad_() for p in start]
    optimizer = reference(leaves)
    for g in grads:
        for leaf, gradient in zip(leaves, g, strict=True):
            leaf.grad = gradient.clone()
        optimizer.step()
    for mine, theirs, before in zip(ours, leaves, start, strict=True):
        # The stored logarithms of the step sizes were set in float32.
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-6, atol=1e-7)
        assert not torch.equal(mine, before)
    assert all(torch.equal(p, k) for p, k in zip(start, kept, strict=True))


def test_each_step_has_its_own_size():
    rule = MomentumSGD(lr=0.1, momentum=0.5, n_steps=3, n_tensors=2)
    alpha = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    rule.log_lr.data = alpha.log()
    a, b = run(rule, (torch.zeros(1), torch.zeros(1)), [(torch.ones(1), torch.ones(1))] * 3)
    velocity = torch.tensor([1.0, 1.5, 1.75])  # v = v / 2 + 1
    torch.testing.assert_close(torch.cat([a, b]).detach(), -(velocity @ alpha))


@pytest.mark.parametrize(
    ("beyond", "expected"),
    [("hold", (0.3, 0.3)), ("average", (0.2, 0.2)), ("decay", (0.3 * 3 / 4, 0.3 * 3 / 9))],
)
def test_beyond_the_last_learned_step(beyond: str, expected: tuple[float, float]):
    rule = MomentumSGD(**MOMENTUM, beyond=beyond)
    rule.log_lr.data = torch.tensor([[0.1], [0.2], [0.3]]).log()
    sizes = [rule.step_sizes(step).item() for step in (0, 1, 2, 3, 8)]
    assert sizes == pytest.approx([0.1, 0.2, 0.3, *expected])


def test_the_average_is_that_of_the_last_five_steps():
    rule = MomentumSGD(lr=0.5, momentum=0.5, n_steps=7, beyond="average")
    rule.log_lr.data[-5:] = torch.tensor([[0.1], [0.2], [0.3], [0.4], [0.6]]).log()
    assert rule.step_sizes(7).item() == pytest.approx(0.32)


def handover(**changes: Any) -> MomentumSGD:
    return MomentumSGD(**{**MOMENTUM, "beyond": "adam", "adam_lr": 0.05, **changes}).double()


def test_handover_blends_into_adam():
    """By hand: K = 3 steps of momentum, a mixture up to step 6, Adam with a falling size after."""
    grads = [draws(i) for i in range(1, 10)]
    result = run(handover(), draws(0), list(grads))
    for i, theta in enumerate(draws(0)):
        velocity, squares = torch.zeros_like(theta), []
        for k in range(9):
            g = grads[k][i]
            velocity = 0.5 * velocity + g
            share = min(max((k + 1 - 3) / 3, 0.0), 1.0)
            theta = theta - (1 - share) * 0.1 * velocity
            if k >= 3:
                squares.append(g.square())
                weights = [0.99 ** (k - 3 - j) for j in range(len(squares))]
                mean = torch.tensor(weights, dtype=torch.float64) / sum(weights)
                s_hat = torch.tensordot(mean, torch.stack(squares), dims=1)
                lr = 0.05 * (3 / (k + 1)) ** 1.5
                theta = theta - share * lr * 0.5 * velocity / s_hat.sqrt()
        torch.testing.assert_close(result[i].detach(), theta, rtol=1e-6, atol=1e-7)


def test_handover_changes_nothing_up_to_the_last_learned_step():
    grads = [draws(i) for i in range(1, 5)]
    ours, held = (
        run(rule, draws(0), list(grads[:3])) for rule in (handover(), handover(beyond="hold"))
    )
    assert all(torch.equal(a, b) for a, b in zip(ours, held, strict=True))
    later = run(handover(), draws(0), list(grads))
    assert not torch.allclose(later[0], run(handover(beyond="hold"), draws(0), list(grads))[0])


def test_handover_treats_stacked_weights_as_it_treats_each():
    seeds = (0, 10)
    sets = [[draws(seed + i) for i in range(8)] for seed in seeds]
    alone = [run(handover(), params, list(grads)) for params, *grads in sets]
    stacked = [tuple(map(torch.stack, zip(*both, strict=True))) for both in zip(*sets, strict=True)]
    together = run(handover(), stacked[0], list(stacked[1:]))
    for i, one in enumerate(alone):
        assert all(torch.equal(a, b[i]) for a, b in zip(one, together, strict=True))


def test_handover_goes_on_when_an_image_stops():
    problems = [sensed(seed, 100, (2, 8, 8)) for seed in range(3)]

    def run_both(stacked: bool) -> list[Tensor]:
        results = fit(
            problems, linear_prior(), MSE, handover(), steps=8, hooks=[StopImage({1: 5})],
            execution=Execution(stacked=stacked),
        )  # fmt: skip
        assert [result.steps for result in results] == [8, 5, 8]
        return [result.x_hat for result in results]

    for one, other in zip(run_both(True), run_both(False), strict=True):
        torch.testing.assert_close(one, other)


def test_handover_is_differentiable_where_a_gradient_is_zero():
    rule = handover(n_steps=1)
    start = [p.clone().requires_grad_() for p in draws(0)]
    grads = [(torch.zeros_like(start[0]), start[1] ** 3)] * 3
    end = run(rule, tuple(start), list(grads))
    found = torch.autograd.grad(sum(p.sum() for p in end), [*start, *rule.parameters()])  # type: ignore[arg-type]
    assert all(g.isfinite().all() for g in found)
    torch.testing.assert_close(found[0], torch.ones_like(found[0]))


def test_handover_is_not_reverted():
    rule, params = handover(), draws(0)
    state = rule.init(params)
    with pytest.raises(ValueError, match="step 3 is past n_steps=3: Adam is not reverted"):
        rule.revert(params, state, 3)
    with pytest.raises(ValueError, match="step 3 is past n_steps=3: Adam is not reverted"):
        rule.pull_back(params, state, 3, (params, params))


@pytest.mark.parametrize("beyond", ["hold", "average", "decay"])
@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("step", [1, 4], ids=["learned step", "step beyond"])
def test_derivatives_of_an_update_are_those_of_autograd(beyond: str, per_tensor: bool, step: int):
    rule = MomentumSGD(**MOMENTUM, n_tensors=2 if per_tensor else 1, beyond=beyond).double()
    with torch.no_grad():
        rule.log_lr.add_(torch.arange(rule.log_lr.numel()).reshape(rule.log_lr.shape) / 10)
    params, grads, velocity = ([p.requires_grad_() for p in draws(i)] for i in range(3))
    cotangents = draws(3), draws(4)
    moved, state = rule.update(tuple(params), tuple(grads), (tuple(velocity),), step)
    expected = torch.autograd.grad(
        (*moved, *state[0]),
        (*params, *grads, *velocity, *rule.parameters()),
        (*cotangents[0], *cotangents[1]),
    )
    found = rule.pull_back(tuple(grads), (tuple(velocity),), step, cotangents)
    ours = (*cotangents[0], *found.grads, *found.velocity, *found.rule)
    assert not any(t.requires_grad for t in ours)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_step_sizes_return_to_their_bounds():
    rule = MomentumSGD(**MOMENTUM, lr_bounds=(0.01, 0.5))
    rule.log_lr.data = torch.tensor([[0.001], [0.2], [3.0]]).log()
    rule.clamp_()
    torch.testing.assert_close(rule.log_lr.exp().detach(), torch.tensor([[0.01], [0.2], [0.5]]))


@pytest.mark.parametrize("per_tensor", [False, True])
def test_momentum_rule_is_differentiable(per_tensor: bool):
    """Three updates on a curved loss, in step sizes, momentum and start weights."""
    rule = MomentumSGD(**MOMENTUM, n_tensors=2 if per_tensor else 1).double()

    def after_three(log_lr: Tensor, logit: Tensor, *start: Tensor) -> Tensor:
        def descend(params: tuple[Tensor, ...]) -> Tensor:
            state = rule.init(params)
            for step in range(3):
                loss = sum((p.sin() + p.square()).sum() for p in params)
                grads = torch.autograd.grad(loss, params, create_graph=True)  # type: ignore[arg-type]
                params, state = rule.update(params, grads, state, step)
            return torch.cat([p.flatten() for p in params])

        return functional(rule, log_lr, logit, lambda: descend(start))

    inputs = [rule.log_lr.detach(), rule.momentum_logit.detach(), *draws(0)]
    assert torch.autograd.gradcheck(after_three, [t.clone().requires_grad_() for t in inputs])


def functional(rule: MomentumSGD, log_lr: Tensor, logit: Tensor, function: Any) -> Tensor:
    """Call ``function`` while ``rule`` uses other learned values."""
    names = {"log_lr": log_lr, "momentum_logit": logit}
    with torch.nn.utils.stateless._reparametrize_module(rule, names):
        result: Tensor = function()
    return result


def test_adam_is_differentiable_where_a_gradient_is_zero():
    rule = Adam(lr=0.1, eps_root=1e-4)

    def after_two(*start: Tensor) -> Tensor:
        params, state = start, rule.init(start)
        for step in range(2):
            grads = tuple(p * p for p in params)
            params, state = rule.update(params, grads, state, step)
        return torch.cat([p.flatten() for p in params])

    start = [p.clone() for p in draws(0)]
    start[0][0] = 0
    assert torch.autograd.gradcheck(after_two, [p.requires_grad_() for p in start])


def test_eps_root_changes_the_update():
    p, g = draws(0), draws(1)
    plain, rooted = run(Adam(lr=0.1), p, [g]), run(Adam(lr=0.1, eps_root=0.5), p, [g])
    torch.testing.assert_close(rooted[0] - p[0], -0.1 * g[0] / (g[0].square() + 0.5).sqrt())
    assert not torch.allclose(plain[0], rooted[0])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"lr": 2.0}, r"lr_bounds\[1\], got lr 2.0 and bounds \(0.0001, 1.0\)"),
        ({"lr_bounds": (0.0, 1.0)}, r"need 0 < lr_bounds\[0\] <= lr .*bounds \(0.0, 1.0\)"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"momentum": -0.1}, r"momentum must be in \[0, 1\), got -0.1"),
        ({"n_steps": 0}, "n_steps and n_tensors must be at least 1, got 0 and 1"),
        ({"n_tensors": 0}, "n_steps and n_tensors must be at least 1, got 3 and 0"),
        ({"beyond": "stop"}, "beyond must be one of hold, .*, got 'stop'"),
        ({"adam_lr": 0.0}, "adam_lr must be above 0, got 0.0"),
    ],
)
def test_bad_momentum_arguments_are_refused(change: dict[str, Any], text: str):
    with pytest.raises(ValueError, match=text):
        MomentumSGD(**{**MOMENTUM, **change})


def test_step_sizes_for_another_network_are_refused():
    with pytest.raises(ValueError, match="step sizes for 5 weight tensors, but there are 2"):
        MomentumSGD(**MOMENTUM, n_tensors=5).init(draws(0))


@pytest.mark.parametrize(
    "change", [{"lr": 0.0}, {"betas": (1.0, 0.9)}, {"eps": -1.0}, {"eps_root": -1.0}]
)
def test_bad_adam_arguments_are_refused(change: dict[str, Any]):
    name, value = next(iter(change.items()))
    with pytest.raises(ValueError, match="bad Adam arguments: lr") as error:
        Adam(**{"lr": 0.1, **change})
    assert f"{name} {value}" in str(error.value)


def test_learned_values_start_where_they_were_set():
    rule = MomentumSGD(**MOMENTUM)
    assert rule.momentum_logit.sigmoid().item() == pytest.approx(0.5)
    assert rule.log_lr[0].exp().item() == pytest.approx(0.1)
    assert math.isinf(MomentumSGD(lr=0.1, momentum=0.0, n_steps=1).momentum_logit.item())


def test_sgd_follows_a_schedule():
    """Two steps at 0.1, then at 0.05: by hand."""
    rule = SGD(lr=MultiStep(0.1, milestones=[2], factor=0.5), momentum=0.0)
    ones = [tuple(torch.ones(s, dtype=torch.float64) for s in SHAPES)] * 3
    start = draws(0)
    for after, before in zip(run(rule, start, ones), start, strict=True):
        torch.testing.assert_close(after, before - 0.25)
