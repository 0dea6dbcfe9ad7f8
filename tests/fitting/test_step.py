"""The one step: what estimates measure as."""

import copy

import pytest
import torch
from deepinv.physics import Blur, BlurFFT
from torch import Tensor

from metadip.fitting import measured
from metadip.types import Estimate, InverseProblem

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(2, 1, 8, 8, generator=GENERATOR)
FILTERS = torch.rand(2, 1, 3, 3, generator=GENERATOR)


@pytest.mark.parametrize("given", [None, torch.ones(1, 1, 3, 3) / 9])
def test_an_operator_keeps_its_own_parameters_and_gradients_reach_the_estimated_ones(
    given: Tensor | None,
):
    physics = Blur(filter=given)
    problems = [InverseProblem(torch.zeros(1, 1, 6, 6), physics, (1, 8, 8))] * 2
    filters = FILTERS.clone().requires_grad_()
    y_hat, _ = measured(problems, Estimate(X, {"filter": filters}))
    assert physics.filter is given
    copy.deepcopy(physics)  # refused where a buffer has a graph
    for row in range(2):
        alone = Blur(filter=FILTERS[row : row + 1]).A(X[row : row + 1])
        torch.testing.assert_close(y_hat[row : row + 1], alone)
    (gradient,) = torch.autograd.grad(y_hat.sum(), filters)
    sums = (
        X.unfold(2, 6, 1).unfold(3, 6, 1).sum((-1, -2)).flip(2, 3)
    )  # convolution turns the filter
    torch.testing.assert_close(gradient, sums)


def test_what_an_operator_derives_from_its_parameters_is_kept_too():
    physics = BlurFFT((1, 8, 8), filter=torch.ones(1, 1, 3, 3) / 9)
    problem = InverseProblem(torch.zeros(1, 1, 8, 8), physics, (1, 8, 8))
    before = physics.A(X)
    measured([problem], Estimate(X[:1], {"filter": FILTERS[:1]}))
    assert torch.equal(physics.A(X), before)
    with pytest.raises(RuntimeError):
        measured([problem], Estimate(X[:1, :, :5], {"filter": FILTERS[:1]}))
    assert torch.equal(physics.A(X), before)
