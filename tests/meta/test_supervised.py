"""Training without inner steps: all images pass through one set of weights together."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metadip.fitting import MomentumSGD
from metadip.meta import (
    Curriculum,
    FunctionalMAML,
    FunctionalOptions,
    InnerLoopSchedule,
    inner_optimizer,
)
from metadip.meta.learn2learn_maml import Learn2LearnMAML
from metadip.priors import (
    BackProjection,
    InformedNetwork,
    LatentNetwork,
    ResidualUNet,
    SkipUNet,
    draw_weights,
)
from metadip.types import InverseProblem
from tests.fitting.tiny import MSE_TV, noisy, sensed

SIZE = (3, 8, 8)


class Counting(nn.Module):
    """Count how often a network is called, with how many images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.inside, self.batches = network, list[int]()
        self.in_channels, self.out_channels = network.in_channels, 3

    def __deepcopy__(self, memo: dict[int, Any]) -> "Counting":
        twin = Counting(copy.deepcopy(self.inside, memo))
        twin.batches = self.batches
        return twin

    def forward(self, y: Tensor) -> Tensor:
        self.batches.append(len(y))
        image: Tensor = self.inside(y)
        return image


def without_normalisation() -> nn.Module:
    network = draw_weights(ResidualUNet(3, out_channels=3, channels=[4, 6]), seed=0)
    nn.init.normal_(network.tail.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    return network


def informed_network() -> nn.Module:
    network = draw_weights(ResidualUNet(13, out_channels=3, channels=[4, 6]), seed=0)
    nn.init.normal_(network.tail.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    return network


def with_normalisation() -> nn.Module:
    network = SkipUNet(3, out_channels=3, channels=[4], skip_channels=[2], residual=True)
    return draw_weights(network, seed=0)


def supervised(**options: Any) -> FunctionalMAML:
    schedule = InnerLoopSchedule(
        0,
        multi_step_weight=0.5,
        multi_step_from=0,
        first_order=False,
        curriculum=Curriculum(),
        log_error=True,
    )
    return FunctionalMAML(schedule, FunctionalOptions(**options))


def rule_for(prior: LatentNetwork) -> MomentumSGD:
    return inner_optimizer(
        prior, lr=0.1, momentum=0.6, n_steps=2, per_tensor=True, lr_bounds=(1e-3, 1.0),
        beyond="hold",
    ).double()  # fmt: skip


def double(problem: InverseProblem) -> InverseProblem:
    assert problem.x is not None
    return InverseProblem(
        problem.y.double(), problem.physics, problem.image_shape, x=problem.x.double()
    )


@pytest.mark.parametrize("options", [{}, {"keep_graphs": True}, {"stacked": True}])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("sizes", [(SIZE, SIZE, SIZE), (SIZE, (3, 8, 12))])
def test_the_gradient_is_that_of_the_mean_over_images_one_by_one(
    options: dict[str, Any], normalised: bool, sizes: tuple[tuple[int, int, int], ...]
):
    network = Counting((with_normalisation if normalised else without_normalisation)()).double()
    prior = LatentNetwork(network, BackProjection(3), learned=True)
    rule = rule_for(prior)
    problems = [double(noisy(seed, shape)) for seed, shape in enumerate(sizes)]
    outcome = supervised(**options).outer_loss(prior, rule, MSE_TV, problems)
    outcome.loss.backward()
    calls, found = list(network.batches), [p.grad for p in network.parameters()]
    network.zero_grad()
    errors = torch.stack([(network(p.y) - p.x).square().mean() for p in problems])
    errors.log().mean().backward()
    torch.testing.assert_close(outcome.step_errors[:, 0], errors.detach())
    for gradient, parameter in zip(found, network.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-9, atol=1e-12)
    assert all(p.grad is not None and not p.grad.any() for p in rule.parameters())
    if not normalised and len(set(sizes)) == 1:  # kept, the graph of the one call serves
        assert calls == ([3] if options.get("keep_graphs") else [3, 3])


def test_a_kept_graph_gives_the_gradient_of_a_new_one():
    network = without_normalisation().double()
    prior = LatentNetwork(network, BackProjection(3), learned=True)
    rule = rule_for(prior)
    found = []
    for keep in (False, True):
        network.zero_grad()
        supervised(keep_graphs=keep).outer_loss(
            prior, rule, MSE_TV, [double(noisy(0))]
        ).loss.backward()
        found.append([p.grad for p in network.parameters()])
    for again, kept in zip(*found, strict=True):
        torch.testing.assert_close(again, kept, rtol=1e-12, atol=0)


def test_where_nothing_adapts_tasks_with_any_measurement_share_their_calls():
    """Four steps of an informed prior, against the other engine, task by task."""
    network = Counting(informed_network()).double()
    prior = InformedNetwork(network, n_steps=3, iterations=3, smoothness=0.1, learned=True).double()
    rule = inner_optimizer(
        prior, lr=0.1, momentum=0.6, n_steps=3, per_tensor=True, lr_bounds=(1e-3, 1.0),
        beyond="hold", names=(),
    ).double()  # fmt: skip
    problems = [sensed(0, 90, SIZE), sensed(1, 60, SIZE), double(noisy(2, SIZE))]
    schedule = InnerLoopSchedule(
        3, multi_step_weight=1.0, multi_step_from=0, first_order=False, curriculum=Curriculum(),
        log_error=True, log_floor=1e-5,
    )  # fmt: skip
    found = []
    for learner in (
        FunctionalMAML(schedule, FunctionalOptions(keep_graphs=True)),
        Learn2LearnMAML(schedule),
    ):
        prior.zero_grad()
        network.batches.clear()
        outcome = learner.outer_loss(prior, rule, MSE_TV, problems)
        outcome.loss.backward()
        grads = {n: p.grad for n, p in prior.named_parameters() if p.grad is not None}
        found.append((outcome.step_errors, grads, list(network.batches)))
    (errors, ours, calls), (expected, theirs, _) = found
    torch.testing.assert_close(errors, expected, rtol=1e-7, atol=1e-12)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-6, atol=1e-10, msg=name)
    assert bool(ours["log_eta"].all())
    assert calls == [3] * 4
