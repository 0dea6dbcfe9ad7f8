"""What an image gets does not depend on its neighbours, their order, or who is fitted with it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from deepinv.physics import Denoising, GaussianNoise

from metadip.callbacks import (
    ESEMV,
    ESWMV,
    BestIterate,
    DiscrepancyPrinciple,
    LatentJitter,
    OutputEMA,
    SelfValidation,
)
from metadip.types import FitResult, InverseProblem
from tests.fitting.tiny import EXACT, SAME, assert_same, noisy, tiny_fit, tiny_prior

STEPS = 12
RULES: dict[str, tuple[Callable[[], list[Any]], bool]] = {  # hooks, and whether they stop fits
    "averaging": (
        lambda: [OutputEMA(0.9, bias_correction=True), BestIterate(min_improvement=0.0)],
        False,
    ),
    "ES-WMV": (lambda: [ESWMV(3, 4, min_start=2)], True),
    "ES-EMV": (lambda: [ESEMV(0.5, 2, min_start=2)], True),
    "SV-ES": (
        lambda: [SelfValidation(4, 3, min_start=2, every=2, batch_size=2, lr=1e-3)],
        True,
    ),
    "discrepancy": (lambda: [DiscrepancyPrinciple(2.5)], True),
}


def five() -> list[InverseProblem]:
    physics = Denoising(GaussianNoise(0.1))
    return [replace(noisy(seed), physics=physics) for seed in range(5)]


def assert_same_stops(ours: Sequence[FitResult], theirs: Sequence[FitResult]) -> None:
    assert_same(ours, theirs, **SAME)
    for a, b in zip(ours, theirs, strict=True):
        for name, curve in a.curves.items():
            torch.testing.assert_close(curve, b.curves[name], equal_nan=True, **SAME)


@pytest.mark.parametrize("name", RULES)
def test_alone_in_a_batch_of_five_and_reversed(name: str):
    """With jitter, and with stopping rules that let images leave the batch one by one."""
    make, stops = RULES[name]
    prior = tiny_prior(learned=False)

    def run(problems: Sequence[InverseProblem], *, stacked: bool) -> list[FitResult]:
        hooks = [LatentJitter(0.05), *make()]
        return tiny_fit(problems, prior=prior, steps=STEPS, hooks=hooks, stacked=stacked)

    together = run(five(), stacked=True)
    assert_same_stops(run(five()[::-1], stacked=True)[::-1], together)
    in_turn = run(five(), stacked=False)
    assert_same_stops(in_turn, together)
    assert_same(run(five()[::-1], stacked=False)[::-1], in_turn, **EXACT)
    assert_same([run([problem], stacked=False)[0] for problem in five()], in_turn, **EXACT)
    if stops:
        assert len({result.steps for result in together}) > 1
