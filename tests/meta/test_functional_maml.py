"""What the functional engine alone can do; its gradient is checked beside learn2learn's."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from metadip.fitting import MomentumSGD, fit
from metadip.meta import (
    Curriculum,
    FunctionalMAML,
    FunctionalOptions,
    InnerLoopSchedule,
    Learner,
    inner_optimizer,
)
from metadip.meta.learn2learn_maml import Learn2LearnMAML
from metadip.priors import LatentNetwork
from metadip.types import InverseProblem, Start
from tests.fitting.tiny import MSE_TV, sensed, tiny_prior

K = 5
SCHEDULE = InnerLoopSchedule(
    K, multi_step_weight=0.4, multi_step_from=2, first_order=False, curriculum=Curriculum()
)
REFERENCE = Learn2LearnMAML(SCHEDULE)


def engine(**options: Any) -> FunctionalMAML:
    return FunctionalMAML(SCHEDULE, FunctionalOptions(**options))


@pytest.fixture
def prior() -> LatentNetwork:
    return tiny_prior().double()


@pytest.fixture
def rule(prior: LatentNetwork) -> MomentumSGD:
    rule = inner_optimizer(
        prior,
        lr=0.1,
        momentum=0.6,
        n_steps=K,
        per_tensor=True,
        lr_bounds=(1e-3, 1.0),
        beyond="hold",
    ).double()
    noise = torch.randn(rule.log_lr.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rule.log_lr.add_(0.2 * noise)
    return rule


@pytest.fixture
def problems() -> list[InverseProblem]:
    return [sensed(seed, 90, (3, 8, 8)) for seed in range(3)]


def in_float32(problems: Sequence[InverseProblem]) -> list[InverseProblem]:
    return [
        InverseProblem(p.y.float(), p.physics.float(), p.image_shape, x=p.x.float(), seed=p.seed)
        for p in problems
        if p.x is not None
    ]


def gradients(
    learner: Learner, prior: LatentNetwork, rule: MomentumSGD, problems: Sequence[InverseProblem]
) -> list[Tensor | None]:
    prior, rule = copy.deepcopy((prior, rule))
    learner.outer_loss(prior, rule, MSE_TV, problems).loss.backward()
    return [p.grad for p in (*prior.parameters(), *prior.buffers(), *rule.parameters())]


@pytest.mark.parametrize(
    "options",
    [
        {"keep_every": 2},
        {"keep_every": 3},
        {"keep_every": 99},
        {"keep_graphs": True},
        {"stacked": True},
        {"stacked": True, "keep_every": 2},
        {"stacked": True, "keep_graphs": True},
    ],
)
def test_every_way_to_compute_gives_the_gradient_of_learn2learn(
    prior: LatentNetwork, rule: MomentumSGD, problems: list[InverseProblem], options: dict[str, Any]
):
    expected = gradients(REFERENCE, prior, rule, problems)
    found = gradients(engine(**options), prior, rule, problems)
    assert sum(g is not None for g in expected) > 20
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


def test_a_latent_that_learns_gets_its_gradient(
    prior: LatentNetwork, rule: MomentumSGD, problems: list[InverseProblem]
):
    prior.latent.noise.requires_grad_()
    for options in ({}, {"stacked": True}):
        ours, theirs = (
            gradients(learner, prior, rule, problems) for learner in (engine(**options), REFERENCE)
        )
        index = len(list(prior.parameters()))
        expected = theirs[index]
        assert expected is not None
        assert expected.norm() > 1e-6
        torch.testing.assert_close(ours[index], expected, rtol=1e-8, atol=1e-12)


def test_reptile_moves_towards_the_adapted_weights(
    prior: LatentNetwork, rule: MomentumSGD, problems: list[InverseProblem]
):
    class Weights:
        """Read the weights of the last step out of a fit's optimizer."""

        def __init__(self) -> None:
            self.last: list[tuple[Tensor, ...]] = []

        slots, init = rule.slots, staticmethod(rule.init)

        def bind(self, start: Start) -> Any:
            return tuple(start.weights), self

        def update(self, params: Any, grads: Any, state: Any, step: int) -> Any:
            moved, state = rule.update(params, grads, state, step)
            if step == K - 1:
                self.last.append(tuple(p.detach().clone() for p in moved))
            return moved, state

    spy = Weights()
    fit(problems, prior, MSE_TV, spy, steps=K)
    assert len(spy.last) == len(problems)
    for options in ({}, {"stacked": True}):
        found = gradients(engine(reptile=True, **options), prior, rule, problems)
        for i, start in enumerate(prior.network.parameters()):
            mean = torch.stack([start - weights[i] for weights in spy.last]).mean(dim=0)
            torch.testing.assert_close(found[i], mean.detach(), rtol=1e-6, atol=1e-9)
        for gradient in found[-2:]:
            assert gradient is not None
            assert not gradient.any()


def test_mixed_precision_follows_the_weights(
    prior: LatentNetwork, rule: MomentumSGD, problems: list[InverseProblem]
):
    prior, rule, single = prior.float(), rule.float(), in_float32(problems)
    exact = engine().outer_loss(prior, rule, MSE_TV, single)
    progress = (exact.step_errors[:, 0] - exact.step_errors[:, -1]).abs().min()
    for options in ({}, {"keep_graphs": True}, {"stacked": True}):
        with torch.autocast("cpu", torch.bfloat16):  # around all steps, as in training
            mixed = engine(**options).outer_loss(prior, rule, MSE_TV, single)
        assert mixed.loss.dtype == torch.float32
        assert (mixed.step_errors - exact.step_errors).abs().max() < 0.1 * progress


def test_mixed_precision_is_the_same_forwards_and_backwards(
    prior: LatentNetwork, rule: MomentumSGD, problems: list[InverseProblem]
):
    prior, rule = prior.float(), rule.float()
    single = in_float32(problems)
    exact = gradients(engine(), prior, rule, single)
    prior_, rule_ = copy.deepcopy((prior, rule))
    with torch.autocast("cpu", torch.bfloat16):
        outcome = engine().outer_loss(prior_, rule_, MSE_TV, single)
    outcome.loss.backward()  # outside autocast, as Lightning does
    mixed = [p.grad for p in (*prior_.parameters(), *prior_.buffers(), *rule_.parameters())]
    pairs = [(a, b) for a, b in zip(exact, mixed, strict=True) if a is not None and b is not None]
    a, b = (torch.cat([pair[i].flatten() for pair in pairs]) for i in (0, 1))
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=0).item()
    assert 0.9 < cosine < 0.999999


def test_images_of_different_sizes_are_taken_in_turn(prior: LatentNetwork, rule: MomentumSGD):
    problems = [sensed(0, 90, (3, 8, 8)), sensed(1, 60, (3, 8, 12))]
    expected = gradients(REFERENCE, prior, rule, problems)
    for ours, theirs in zip(
        gradients(engine(stacked=True), prior, rule, problems), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"reptile": True, "keep_graphs": True}, "reptile needs functional.keep_graphs=false"),
    ],
)
def test_what_excludes_each_other_is_refused(options: dict[str, Any], text: str):
    with pytest.raises(ValueError, match=text):
        FunctionalOptions(**options)


def test_reptile_refuses_the_logarithm_of_a_loss_that_it_does_not_see():
    schedule = InnerLoopSchedule(
        K, multi_step_weight=0.4, multi_step_from=2, first_order=False, curriculum=Curriculum(),
        log_error=True,
    )  # fmt: skip
    with pytest.raises(ValueError, match="set log_error to false"):
        FunctionalMAML(schedule, FunctionalOptions(reptile=True))
