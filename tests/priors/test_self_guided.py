"""Self-guided DIP: the mean of passes, a few steps written anew, the noise of the passes."""

import pytest
import torch
from deepinv.physics import Physics

from metadip.callbacks import PassNoise
from metadip.fitting import Adam, Autoencoding, ByGroup, Execution, Sum, fit, mse
from metadip.priors import SelfGuided, SkipUNet
from metadip.types import FitState, InverseProblem, UserError
from tests.fitting.tiny import SAME, Hook, noisy, tiny_fit

RULES = ByGroup({"*": Adam(lr=0.01), "inputs.z": Adam(lr=0.1)})
OBJECTIVE = Sum(mse, {"autoencoding": Autoencoding(0.3)})


def prior(channels: int = 3) -> SelfGuided:
    network = SkipUNet(channels, out_channels=channels, channels=[4], skip_channels=[2])
    return SelfGuided(network, n_passes=2)


class Noises(Hook):
    """Keep the jitter of every step."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_step_end(self, state: FitState) -> None:
        self.seen.append(state.jitter["passes"].clone())

    def on_update_end(self, state: FitState) -> None: ...

    def on_reconstruction_end(self, state: FitState) -> None: ...


def test_a_fit_is_the_algorithm_of_the_paper() -> None:
    """Adam on weights and input, the mean of two noisy passes, with the noise of our fit."""
    problem, noises = noisy(0, (3, 12, 12)), Noises()
    (result,) = fit([problem], prior(), OBJECTIVE, RULES, steps=2, hooks=[PassNoise(0.5), noises])
    ours = prior()
    weights, inputs = ours.start(problem)
    torch.testing.assert_close(inputs["z"], problem.y)
    network = ours.inner.network
    leaves = {name.removeprefix("inner.network."): w.detach().clone().requires_grad_()
              for name, w in weights.items()}  # fmt: skip
    z = problem.y.clone().requires_grad_()
    rule = torch.optim.Adam([{"params": leaves.values(), "lr": 0.01}, {"params": [z], "lr": 0.1}])

    def generated(noise: torch.Tensor) -> torch.Tensor:
        passes = [torch.func.functional_call(network, leaves, (z + noise[:, m],)) for m in (0, 1)]
        mean: torch.Tensor = torch.stack(passes).mean(dim=0)
        return mean

    for step in range(2):
        x = generated(noises.seen[step])
        rule.zero_grad()
        ((x - problem.y).square().mean() + 0.3 * (x - z).square().mean()).backward()
        rule.step()
    torch.testing.assert_close(result.x_hat, generated(noises.seen[2]).detach(), **SAME)
    assert result.end is not None
    torch.testing.assert_close(result.end.inputs["z"], z.detach(), **SAME)


def test_noise_is_uniform_up_to_a_share_of_the_largest_value() -> None:
    noises, problem = Noises(), noisy(0, (3, 32, 32))
    fit([problem], prior(), OBJECTIVE, RULES, steps=0, hooks=[PassNoise(0.5), noises])
    noise, most = noises.seen[0], 0.5 * float(problem.y.abs().max())
    assert noise.shape == (1, 2, 3, 32, 32)
    assert 0 <= noise.min() < 0.01 * most
    assert 0.99 * most < noise.max() <= most
    assert float(noise.mean()) == pytest.approx(most / 2, rel=0.05)
    assert not torch.equal(noise[:, 0], noise[:, 1])


def test_images_of_a_stack_do_not_mix() -> None:
    problems = [noisy(seed, (3, 10, 12)) for seed in range(2)]
    alone, stacked = (
        fit(problems, prior(), OBJECTIVE, RULES, steps=2, hooks=[PassNoise(0.1)],
            execution=Execution(stacked=s)) for s in (False, True)
    )  # fmt: skip
    for one, both in zip(alone, stacked, strict=True):
        torch.testing.assert_close(one.x_hat, both.x_hat, **SAME)


def test_grey_images_and_other_operators() -> None:
    grey = prior().with_channels(1)
    assert grey.image_channels == 1
    assert grey.start(noisy(0, (1, 8, 8))).inputs["z"].shape == (1, 1, 8, 8)
    with pytest.raises(ValueError, match="has no adjoint"):
        prior().start(InverseProblem(torch.zeros(1, 5), Physics(), (3, 8, 8)))
    with pytest.raises(ValueError, match="n_passes must be at least 1, got 0"):
        SelfGuided(SkipUNet(1, out_channels=1, channels=[4], skip_channels=[0]), n_passes=0)


def test_noise_is_refused_elsewhere() -> None:
    with pytest.raises(ValueError, match="share must be finite and at least 0, got -1"):
        PassNoise(-1)
    with pytest.raises(UserError, match="no input 'passes' to perturb: take prior=self_guided"):
        tiny_fit([noisy(0)], steps=0, hooks=[PassNoise(0.1)])
