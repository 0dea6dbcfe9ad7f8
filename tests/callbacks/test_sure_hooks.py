"""What DIP-SURE adds to a fit: jitter in proportion to the noise, and the stop below zero."""

import pytest
import torch
from deepinv.physics import Denoising, GaussianNoise, ZeroNoise

from metadip.callbacks import BelowZero, FitCallback, NoiseJitter, OutputEMA
from metadip.types import FitState, InverseProblem
from tests.callbacks.scripted import random_script, run_script


def test_the_output_before_the_loss_falls_below_zero_is_kept():
    script = random_script(3, 6)
    losses = torch.ones(3, 6)
    losses[0, 3:], losses[1, 0] = -0.1, -0.1
    average = OutputEMA(0.5, bias_correction=True)
    state = run_script(script, [average, BelowZero()], losses=losses)
    assert state.stop_steps == {0: 3, 1: 0}
    assert state.stop_reasons[0] == "the loss, an estimate of the true error, has fallen below zero"
    before = run_script(script[:1, :3], [OutputEMA(0.5, bias_correction=True)])
    torch.testing.assert_close(state.output[:1], before.output)
    assert torch.equal(state.output[1], script[1, 0])  # nothing came before
    alone = run_script(script[2:], [OutputEMA(0.5, bias_correction=True)])
    torch.testing.assert_close(state.output[2:], alone.output)


class Watch(FitCallback):
    """Keep the jitter."""

    def on_reconstruction_start(self, state: FitState) -> None:
        self.seen: list[torch.Tensor] = []

    def on_step_start(self, state: FitState) -> None:
        self.seen.append(state.jitter["z"])


def noisy(std: float) -> InverseProblem:
    physics = Denoising(GaussianNoise(std))
    return InverseProblem(torch.zeros(1, 1, 32, 32), physics, (1, 32, 32))


def test_jitter_is_a_uniform_share_of_the_noise():
    problems, watch = [noisy(0.1), noisy(0.4)], Watch()
    z = torch.zeros(2, 1, 32, 32)
    hooks = [NoiseJitter(0.5), watch]
    run_script(torch.zeros(2, 400, 1, 32, 32), hooks, z=z, problems=problems)
    shares = torch.stack(watch.seen).std(dim=(2, 3, 4)) / torch.tensor([0.1, 0.4])  # (T, N)
    ranks = torch.linspace(0, 0.5, 400)
    assert (shares.sort(dim=0).values - ranks[:, None]).abs().max() < 0.05  # 4 deviations
    assert torch.corrcoef(shares.T)[0, 1].abs() < 0.2


def test_jitter_estimates_a_noise_that_is_not_told():
    y = 0.5 + 0.2 * torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    untold, watch = InverseProblem(y, Denoising(ZeroNoise()), (1, 32, 32), seed=0), Watch()
    hooks = [NoiseJitter(0.5), watch]
    run_script(torch.zeros(1, 400, 1, 32, 32), hooks, z=y, problems=[untold])
    shares = torch.stack(watch.seen).std(dim=(1, 2, 3, 4))
    assert shares.max().item() == pytest.approx(0.1, rel=0.15)


def test_bad_arguments_and_problems_are_refused():
    with pytest.raises(ValueError, match="share must be finite and at least 0, got -1"):
        NoiseJitter(-1)
    script = torch.zeros(1, 2, 1, 32, 32)
    with pytest.raises(ValueError, match="no input 'y' to perturb; the representation has z"):
        run_script(script, [NoiseJitter(0.5, input="y")], problems=[noisy(0.1)])
