"""Weight decay against that of torch, and by hand."""

import pytest
import torch
from torch import Tensor

from metadip import registry
from metadip.fitting import Execution, Sum, WeightDecay, WeightSum, fit, mean_mse, mse
from tests.fitting.tiny import ADAM, MSE, SAME, look, noisy, tiny_prior


@pytest.mark.parametrize("stacked", [False, True], ids=["looped", "stacked"])
def test_weight_decay_is_that_of_torch(stacked: bool):
    """Large enough to matter; torch adds weight_decay * theta to the gradient."""
    problems, decay = [noisy(0), noisy(1)], 0.3
    results = fit(
        problems, tiny_prior(), Sum(mse, {"decay": WeightDecay(decay)}), ADAM, steps=2,
        execution=Execution(stacked=stacked),
    )  # fmt: skip
    for problem, result in zip(problems, results, strict=True):
        prior = tiny_prior()
        z = prior.start(problem).inputs["z"]
        optimizer = torch.optim.Adam(prior.network.parameters(), lr=0.02, weight_decay=decay)
        for _ in range(2):
            optimizer.zero_grad()
            x: Tensor = prior.network(z)
            MSE(look(x, x, problem.y)).sum().backward()
            optimizer.step()
        torch.testing.assert_close(result.x_hat, prior.network(z).detach(), **SAME)


def test_weight_decay_by_hand_and_its_description():
    weights = {"a": torch.full((2, 3, 2), 2.0), "b": torch.tensor([[1.0], [3.0]])}
    x = torch.zeros(2, 1, 2, 2)
    term = WeightDecay(0.5)
    seen = look(x, x, x, weights=weights)
    assert term(seen).tolist() == [0.25 * (6 * 4 + 1), 0.25 * (6 * 4 + 9)]
    assert registry.build("objective", registry.describe(term)) == term


def test_bad_decay_is_refused():
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        WeightDecay(-1)


def test_the_sum_of_weights_by_hand_and_in_a_fit():
    weights = {"a": torch.full((2, 3, 2), -2.0), "b": torch.tensor([[1.0], [3.0]])}
    x = torch.zeros(2, 1, 2, 2)
    assert WeightSum(0.5)(look(x, x, x, weights=weights)).tolist() == [6.5, 7.5]
    problem = noisy(0)
    free, held = (
        fit([problem], tiny_prior(), Sum(mse, terms), ADAM, steps=4)[0]
        for terms in ({}, {"sum": WeightSum(1.0)})
    )
    assert free.end is not None
    assert held.end is not None
    ends = free.end.weights, held.end.weights
    sums = [float(sum(w.abs().sum() for w in weights.values())) for weights in ends]
    assert sums[1] < sums[0]
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        WeightSum(-1)


def test_the_mean_over_measurements():
    y_hat, y = torch.tensor([[1.0, 2.0, 5.0]]), torch.zeros(1, 3)
    assert mean_mse(look(torch.zeros(1, 1, 2, 2), y_hat, y)).tolist() == [10.0]
    assert mean_mse(look(torch.zeros(1, 1, 2, 2), 1j * y_hat, y + 0j)).tolist() == [5.0]
