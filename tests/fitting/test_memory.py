"""How many images go together: the estimate, the plan, and memory that runs out."""

import gc
import logging
from collections.abc import Sequence

import pytest
import torch

from metadip.fitting import Adam, Backtracking, Execution, fit, memory
from metadip.fitting.memory import bytes_per_image, chunk_size, run_in_chunks
from metadip.fitting.plan import FitPlan, Job
from metadip.types import FitResult, FitState, UserError
from tests.fitting.tiny import (
    ADAM,
    EXACT,
    MSE,
    SAME,
    Hook,
    assert_same,
    noisy,
    tiny_fit,
    tiny_prior,
)


class Sizes(Hook):
    """Count the images of every batch."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_reconstruction_start(self, state: FitState) -> None:
        self.seen.append(len(state.problems))


def plan(**execution: object) -> FitPlan:
    return FitPlan(tiny_prior(), MSE, ADAM, 3, Execution(**execution))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n_images", "budget", "expected"),
    [(16, 1600, 16), (16, 1599, 8), (16, 350, 3), (16, 50, 1), (5, 10**9, 5), (7, 400, 4)],
)
def test_chunks_are_few_and_even(n_images: int, budget: float, expected: int):
    assert chunk_size(n_images, 100, budget) == expected


def test_the_estimate_knows_the_parts_that_are_known_exactly():
    prior, problem = tiny_prior(), noisy(0)
    weights = sum(p.nbytes for p in prior.network.parameters())
    with_copies = bytes_per_image(Job(problem), plan())
    without = bytes_per_image(Job(problem), plan(backtracking=None))
    assert with_copies - without == 3 * weights  # a copy of the weights and Adam's two moments
    larger = bytes_per_image(Job(noisy(0, (3, 16, 16))), plan()) - with_copies
    activations = with_copies - 7 * weights
    assert 2.5 * activations < larger < 3.5 * activations  # four times the pixels


def peak_bytes(n_images: int) -> int:
    """Return the most that the CPU allocator handed out at a time during a stacked fit."""
    problems, prior = [noisy(i, (3, 32, 32)) for i in range(n_images)], tiny_prior()
    with torch.profiler.profile(profile_memory=True) as profile:
        execution = Execution(stacked=True)
        fit(problems, prior, MSE, Adam(lr=0.01), steps=3, execution=execution)
    events = profile.profiler.kineto_results.events()
    changes = [e.nbytes() for e in events if e.name() == "[memory]"]
    level = peak = 0
    for change in changes:
        level += change
        peak = max(peak, level)
    return peak


def test_the_estimate_is_near_what_an_image_takes():
    measured = (peak_bytes(6) - peak_bytes(2)) / 4
    estimated = bytes_per_image(Job(noisy(0, (3, 32, 32))), plan())
    assert 0.6 * measured < estimated < 1.6 * measured


def test_a_budget_makes_chunks_with_the_same_results_and_says_so_once(caplog):
    problems, sizes = [noisy(i) for i in range(5)], Sizes()
    per_image = bytes_per_image(Job(problems[0]), plan())
    memory.announce.cache_clear()
    with caplog.at_level(logging.INFO, logger="metadip"):
        for _ in range(2):
            results = tiny_fit(
                problems, steps=3, hooks=[sizes], stacked=True, memory_bytes=2.5 * per_image
            )
    assert sizes.seen == [2, 2, 1] * 2
    (record,) = caplog.records
    assert record.getMessage().startswith("fitting 5 images of 3x8x8 in 3 chunks of at most 2: ab")
    assert_same(results, tiny_fit(problems, steps=3, stacked=True), **SAME)


def test_one_by_one_nothing_is_planned(monkeypatch):
    monkeypatch.setattr(memory, "bytes_per_image", lambda *_: pytest.fail("estimated"))
    tiny_fit([noisy(0), noisy(1)], steps=1, stacked=False, memory_bytes=1)


class Narrow(Hook):
    """Run out of memory, in the middle of a fit, with more than so many images."""

    def __init__(self, limit: int) -> None:
        self.limit, self.seen = limit, []  # type: ignore[var-annotated]

    def on_step_end(self, state: FitState) -> None:
        if state.step == 1:
            self.seen.append(len(state.problems))
            if len(state.problems) > self.limit:
                raise torch.OutOfMemoryError("CUDA out of memory.")


def test_when_memory_runs_out_the_chunk_is_halved_and_repeated(caplog):
    problems, narrow = [noisy(i) for i in range(7)], Narrow(2)
    results = tiny_fit(problems, steps=3, hooks=[narrow], stacked=True)
    assert narrow.seen == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert "out of memory with 7 images: going on with 3 at a time" in caplog.text
    assert_same(results, tiny_fit(problems, steps=3, stacked=False), **SAME)


def test_what_is_done_is_kept():
    done: list[list[int]] = []

    def run(chunk: Sequence[Job]) -> list[FitResult]:
        if len(done) == 1 and len(chunk) == 4:
            raise torch.OutOfMemoryError
        done.append([job.problem.seed for job in chunk])
        return tiny_fit([job.problem for job in chunk], steps=0)

    results = run_in_chunks([Job(noisy(i)) for i in range(9)], run, size=4)
    assert done == [[0, 1, 2, 3], [4, 5], [6, 7], [8]]
    assert_same(results, tiny_fit([noisy(i) for i in range(9)], steps=0), **EXACT)


@pytest.mark.parametrize("stacked", [False, True])
def test_one_image_that_does_not_fit_is_a_users_error(stacked: bool):
    with pytest.raises(UserError, match="one image of 3x8x8 does not fit into the memory of cpu: "):
        tiny_fit([noisy(0), noisy(1)], steps=3, hooks=[Narrow(0)], stacked=stacked)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_budget_is_a_positive_number(value: float):
    with pytest.raises(ValueError, match="memory_bytes must be above 0 and finite, got"):
        Execution(memory_bytes=value)


def test_unknown_precisions_are_refused():
    with pytest.raises(ValueError, match="precision must be one of 32, bf16, got '16'"):
        Execution(precision="16")
    assert Execution().backtracking == Backtracking()


def test_a_fit_that_moves_nothing_keeps_nothing():
    assert chunk_size(7, 0, 1e9) == 7


@pytest.mark.parametrize("n_images", [1, 2])
def test_a_fit_leaves_nothing_to_the_garbage_collector(n_images: int):
    """In cycles, the networks of many fits would wait in memory."""
    problems = [noisy(i) for i in range(n_images)]
    tiny_fit(problems, steps=2)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        tiny_fit(problems, steps=2)
        gc.collect()
        left = [item for item in gc.garbage if isinstance(item, torch.Tensor)]
    finally:
        gc.set_debug(0)
        gc.enable()
        gc.garbage.clear()
    assert not left
