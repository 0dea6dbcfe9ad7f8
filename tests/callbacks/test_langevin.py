"""Langevin noise against the stream that it is drawn from, and the posterior mean by hand."""

import pytest
import torch

from metadip import config
from metadip.callbacks import LangevinNoise, PosteriorMean
from metadip.seeding import Stream, generator_of
from metadip.types import FitResult, Named
from tests.callbacks.scripted import random_script, run_script
from tests.fitting.tiny import SAME, StopImage, noisy, tiny_fit

STD = 0.02


def weights_of(result: FitResult) -> Named:
    assert result.end is not None
    return result.end.weights


@pytest.mark.parametrize("stacked", [False, True], ids=["looped", "stacked"])
def test_one_update_differs_by_the_noise_of_the_image_and_nothing_else(stacked: bool):
    problems = [noisy(seed) for seed in (3, 4)]
    plain = tiny_fit(problems, steps=1, stacked=stacked)
    hooks = [LangevinNoise(STD)]
    noised = tiny_fit(problems, steps=1, hooks=hooks, stacked=stacked)
    for problem, without, with_noise in zip(problems, plain, noised, strict=True):
        stream = generator_of(problem.seed, Stream.STEPS)
        kinds = set()
        for name, before in weights_of(without).items():
            kinds.add(before.ndim)
            drawn = torch.randn(before.shape, generator=stream) if before.ndim == 4 else None
            expected = before if drawn is None else before + STD * drawn
            assert torch.equal(weights_of(with_noise)[name], expected), name
        assert kinds == {1, 4}


def test_an_image_gets_the_same_alone_and_stacked_and_beside_one_that_stops():
    problems = [noisy(seed) for seed in (3, 4, 5)]
    hooks = [LangevinNoise(STD), PosteriorMean(burn_in=1, every=2), StopImage({4: 3})]
    alone, together = (tiny_fit(problems, steps=6, hooks=hooks, stacked=s) for s in (False, True))
    for one, other in zip(alone, together, strict=True):
        assert one.steps == other.steps
        torch.testing.assert_close(one.x_hat, other.x_hat, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        tiny_fit(problems[2:], steps=6, hooks=hooks)[0].x_hat, alone[2].x_hat, **SAME
    )


def test_no_noise_changes_nothing():
    plain, noised = (tiny_fit([noisy(3)], steps=2, hooks=h) for h in ([], [LangevinNoise(0.0)]))
    assert torch.equal(plain[0].x_hat, noised[0].x_hat)


def test_the_mean_of_every_third_reconstruction_after_the_burn_in():
    script = random_script(2, 12)
    for n_frames, steps in ((12, [6, 9]), (7, [6]), (6, [])):
        state = run_script(script[:, :n_frames], [PosteriorMean(burn_in=5, every=3)])
        chosen = script[:, steps] if steps else script[:, n_frames - 1 : n_frames]
        torch.testing.assert_close(state.output, chosen.mean(dim=1))


def test_a_fit_too_short_for_a_sample_is_told(caplog: pytest.LogCaptureFixture):
    run_script(random_script(1, 6), [PosteriorMean(burn_in=7, every=5)])
    assert "no sample was taken: the first is due at step 10" in caplog.text


def test_a_step_that_diverged_is_no_sample():
    script, losses = random_script(2, 7), torch.ones(2, 7)
    losses[1, 4], script[1, 4] = torch.inf, torch.nan
    back = {4: {1: 2}}
    hook = PosteriorMean(burn_in=0, every=2)
    state = run_script(script, [hook], losses=losses, taken_back=back)
    torch.testing.assert_close(state.output[0], script[0, [2, 4, 6]].mean(dim=0))
    torch.testing.assert_close(state.output[1], script[1, [2, 6]].mean(dim=0))
    again = run_script(script[:1], [hook])
    torch.testing.assert_close(again.output[0], state.output[0])


def test_the_preset_is_that_of_the_authors():
    cfg = config.compose("infer", ["method=gp_dip"])
    _, noise, mean = (config.build(node) for node in cfg.callbacks.values())
    assert noise.std == 2 * cfg.optimizer.lr
    assert (mean.burn_in, mean.every) == (7000, 50)
    assert config.build(cfg.objective).terms["decay"].weight == 5e-8
    assert cfg.method.steps == 20_000


@pytest.mark.parametrize("std", [-0.1, float("inf")])
def test_bad_noise_is_refused(std: float):
    with pytest.raises(ValueError, match=f"std must be finite and at least 0, got {std}"):
        LangevinNoise(std)


@pytest.mark.parametrize(("burn_in", "every"), [(-1, 1), (0, 0)])
def test_bad_samples_are_refused(burn_in: int, every: int):
    with pytest.raises(ValueError, match=f"every >= 1, got {burn_in} and {every}"):
        PosteriorMean(burn_in=burn_in, every=every)


def test_the_spread_of_the_samples_is_a_picture():
    script = random_script(2, 12)
    state = run_script(script, [PosteriorMean(burn_in=2, every=3)])
    expected = script[:, [3, 6, 9]].std(dim=1)
    torch.testing.assert_close(state.pictures["posterior_std"], expected)
    one = run_script(script, [PosteriorMean(burn_in=8, every=9)])
    assert one.pictures == {}  # a single sample has no spread


def test_a_fit_hands_the_picture_on():
    hooks = [LangevinNoise(STD), PosteriorMean(burn_in=0, every=1)]
    results = tiny_fit([noisy(3), noisy(4)], steps=4, hooks=hooks, stacked=True)
    for result in results:
        assert result.pictures["posterior_std"].shape == result.x_hat.shape
        assert result.pictures["posterior_std"].min() > 0
