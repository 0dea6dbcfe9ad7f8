"""DIP with total variation by splitting: iterations written anew, what it does, refusals."""

from typing import Any

import pytest
import torch
from torch import Tensor

from metadip.fitting import SGD, Execution
from metadip.methods import Splitting, SplitTV
from metadip.methods.admm_tv import gradient
from metadip.types import InverseProblem, UserError
from tests.fitting.tiny import SAME, linear_prior, noisy, sensed, tiny_prior

SGD_RULE = SGD(lr=0.02, momentum=0.0)


def method(algorithm: str, prior: Any = None, **changes: Any) -> SplitTV:
    options = {"weight": 0.1, "penalty": 2.0, "inner_steps": 3, **changes}
    return SplitTV(
        prior or tiny_prior(), optimizer=SGD_RULE, splitting=Splitting(algorithm, **options),
        steps=3,
    )  # fmt: skip


def by_hand(problem: InverseProblem, algorithm: str) -> Tensor:
    """A linear prior x = B w on its own: gradient steps on the split objective, then shrinkage."""
    prior = linear_prior()
    weights, inputs = prior.start(problem)
    (name, w), *_ = weights.items()
    w = w.detach().clone()
    size, beta = problem.image_shape[1:], 2.0

    def generated(weight: Tensor) -> Tensor:
        x: Tensor = torch.func.functional_call(prior, {name: weight}, (size,), dict(inputs)).x
        return x

    n = generated(w)[0].numel()
    u = torch.zeros_like(gradient(generated(w)))
    for _ in range(3):
        v = gradient(generated(w)) + u
        length = (v[0] ** 2 + v[1] ** 2).sqrt()
        t = v * (1 - (0.1 / beta) / length.clamp(min=1e-12)).clamp(min=0)
        u = v - t if algorithm == "admm" else u
        for _ in range(3):
            leaf = w.requires_grad_()
            x = generated(leaf)
            data = (problem.physics.A(x) - problem.y).square().sum()
            split = beta * (gradient(x) - t + u).square().sum()
            (grad,) = torch.autograd.grad((data + split) / n, leaf)
            w = (leaf - 0.02 * grad).detach()
    return generated(w)


@pytest.mark.parametrize("algorithm", ["admm", "hqs"])
def test_iterations_written_anew(algorithm: str) -> None:
    problem = sensed(0, 40, (2, 8, 8))
    (result,) = method(algorithm, linear_prior()).reconstruct([problem])
    torch.testing.assert_close(result.x_hat, by_hand(problem, algorithm))
    assert len(result.curves["loss"]) == 4


@pytest.mark.parametrize("algorithm", ["admm", "hqs"])
def test_several_images_and_less_variation(algorithm: str) -> None:
    problems = [noisy(seed, (3, 10, 12)) for seed in range(2)]
    alone = method(algorithm).reconstruct(problems)
    stacked = method(algorithm)
    stacked.execution = Execution(stacked=True)
    for one, both in zip(alone, stacked.reconstruct(problems), strict=True):
        torch.testing.assert_close(one.x_hat, both.x_hat, **SAME)
    strong = method(algorithm, weight=50.0, penalty=10.0).reconstruct(problems)
    assert gradient(strong[0].x_hat).abs().sum() < gradient(alone[0].x_hat).abs().sum()


def test_refusals() -> None:
    with pytest.raises(UserError, match=r"method\.splitting\.algorithm=lbfgs is unknown"):
        method("lbfgs")
    with pytest.raises(ValueError, match="need weight > 0, penalty > 0 and inner_steps >= 1"):
        method("admm", weight=0.0)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        SplitTV(tiny_prior(), optimizer=SGD_RULE, splitting=Splitting("admm", 0.1, 1.0, 1), steps=0)
