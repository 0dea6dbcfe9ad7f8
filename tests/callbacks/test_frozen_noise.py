"""Noise on convolutions that passes, beside noise that stays: both readings of the code."""

import pytest
import torch

from metadip.callbacks import LangevinNoise, PassingNoise
from metadip.fitting import Adam, ByGroup, fit
from metadip.seeding import Stream, generator_of
from metadip.types import FitResult
from tests.fitting.tiny import MSE, noisy, tiny_prior

STD = 0.1
FROZEN = ByGroup({"*.bias": Adam(lr=0.01)})  # convolutions stay


def fitted(hook: object, steps: int = 3) -> FitResult:
    (result,) = fit([noisy(3)], tiny_prior(), MSE, FROZEN, steps=steps, hooks=[hook])
    return result


def convolutions(result: FitResult) -> list[torch.Tensor]:
    assert result.end is not None
    return [w for w in result.end.weights.values() if w.ndim == 4]


def test_noise_passes_or_stays() -> None:
    before = [w for w in tiny_prior().weights.values() if w.ndim == 4]
    for kept, start in zip(convolutions(fitted(PassingNoise(STD))), before, strict=True):
        assert torch.equal(kept, start)
    changes = zip(convolutions(fitted(LangevinNoise(STD), steps=30)), before, strict=True)
    spread = torch.cat([(after - start).flatten() for after, start in changes]).std()
    assert float(spread.detach()) == pytest.approx(STD * 30**0.5, rel=0.2)


def test_the_step_sees_the_noise_of_the_image_s_stream() -> None:
    result, prior, problem = fitted(PassingNoise(STD), steps=0), tiny_prior(), noisy(3)
    stream = generator_of(problem.seed, Stream.STEPS)
    with torch.no_grad():
        for weight in prior.weights.values():
            if weight.ndim == 4:
                weight += STD * torch.randn(weight.shape, generator=stream)
    x = prior((8, 8), **prior.start(problem).inputs).x
    torch.testing.assert_close(result.x_hat, x)


def test_bad_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="std must be finite and at least 0, got -1"):
        PassingNoise(-1)
