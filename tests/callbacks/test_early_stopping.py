import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from metadip.callbacks import ESEMV, ESWMV, OutputEMA
from metadip.seeding import generator_of
from metadip.types import FitState
from tests.callbacks.scripted import random_script, run_script, valley, without_physics

Judged = tuple[NDArray[np.float64], int, int | None, NDArray[np.float64]]


def pick(scores: NDArray[np.float64], patience: int, min_start: int) -> tuple[int, int | None]:
    """Walk along scores: the step of the minimum, and where the rule stops."""
    best, best_step, waited = float("inf"), -1, 0
    for step, score in enumerate(scores):
        if step < min_start or np.isnan(score):
            continue
        if score < best:
            best, best_step, waited = float(score), step, 0
        else:
            waited += 1
            if waited >= patience:
                return best_step, step
    return best_step, None


def wmv_by_definition(x: NDArray[np.float64], window: int, patience: int, min_start: int) -> Judged:
    frames = x.reshape(len(x), -1)
    scores = np.full(len(x), np.nan)
    for t in range(window - 1, len(x)):
        held = frames[t - window + 1 : t + 1]
        scores[t] = np.mean([np.mean((frame - held.mean(0)) ** 2) for frame in held])
    best, stop = pick(scores, patience, min_start)
    return scores, best, stop, x[best]


def emv_by_definition(x: NDArray[np.float64], alpha: float, patience: int, start: int) -> Judged:
    mean, variance, means, scores = x[0], 0.0, [x[0]], [np.nan]
    for frame in x[1:]:
        delta = frame - mean
        mean = np.clip(mean + alpha * delta, 0, 1)
        variance = (1 - alpha) * (variance + alpha * float(np.linalg.norm(delta)) ** 2)
        means.append(mean)
        scores.append(variance)
    best, stop = pick(np.array(scores), patience, start)
    return np.array(scores), best, stop, means[best]


def check(state: FitState, hook: ESWMV | ESEMV, image: int, expected: Judged) -> None:
    scores, best, stop, chosen = expected
    end = (state.n_steps if stop is None else stop) + 1
    variance = state.curves["variance"][image]
    np.testing.assert_allclose(variance[:end].numpy(), scores[:end], rtol=1e-6, atol=1e-15)
    assert variance[end:].isnan().all()
    assert state.stop_steps.get(image) == stop
    assert int(hook.best_steps[image]) == best
    assert state.curves["chosen_step"][image, end - 1] == best
    np.testing.assert_allclose(state.output[image].numpy(), chosen, rtol=0, atol=1e-6)


SPREADS = torch.stack([valley(90, 30), valley(90, 55), valley(90, 20, depth=0.4)])


@pytest.mark.parametrize("images", [[0], [2], [0, 1, 2], [2, 0, 1]])
@pytest.mark.parametrize(("window", "patience", "min_start"), [(2, 5, 0), (7, 12, 0), (8, 20, 40)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_wmv_follows_its_definition(
    images: list[int], window: int, patience: int, min_start: int, dtype: torch.dtype
):
    script = random_script(3, 90, spread=SPREADS)[images].to(dtype)
    hook = ESWMV(window, patience, min_start=min_start)
    state = run_script(script, [hook])
    for row in range(len(images)):
        x = script[row].double().numpy()
        check(state, hook, row, wmv_by_definition(x, window, patience, min_start))


def test_wmv_of_a_few_pixels_is_that_of_those_pixels():
    """Drawn from each image's own seed, the same in any company, all channels of a place."""
    script = random_script(3, 90, spread=SPREADS)
    problems = without_physics([None] * 3, (3, 4, 5))
    together = ESWMV(7, 12, min_start=0, max_pixels=6)
    state = run_script(script, [together], problems=problems)
    for image in range(3):
        places = torch.randperm(20, generator=generator_of(image, 21))[:6]
        few = script[image].flatten(2)[:, :, places].double().numpy()
        scores, best, stop, _ = wmv_by_definition(few, 7, 12, 0)
        check(state, together, image, (scores, best, stop, script[image, best].numpy()))
        alone = ESWMV(7, 12, min_start=0, max_pixels=6)
        curve = run_script(script[[image]], [alone], problems=[problems[image]]).curves["variance"]
        assert torch.equal(curve[0].nan_to_num(), state.curves["variance"][image].nan_to_num())


def test_few_pixels_judge_like_all():
    noise = torch.randn(1, 120, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    script = 0.5 + valley(120, 60)[None, :, None, None, None] * noise
    every, few = (
        run_script(script, [ESWMV(10, 20, min_start=0, max_pixels=n)]) for n in (None, 512)
    )
    ratio = few.curves["variance"][0, 9:80] / every.curves["variance"][0, 9:80]
    assert (ratio - 1).abs().max() < 0.05
    assert few.stop_steps == every.stop_steps != {}
    assert torch.equal(few.output, every.output)


def test_more_pixels_than_there_are_is_all_of_them():
    script = random_script(1, 30)
    curves = [
        run_script(script, [ESWMV(4, 90, min_start=0, max_pixels=n)]).curves["variance"]
        for n in (None, 20, 1000)
    ]
    for curve in curves[1:]:
        assert torch.equal(curve.nan_to_num(), curves[0].nan_to_num())


@pytest.mark.parametrize("images", [[0], [2], [0, 1, 2], [2, 0, 1]])
@pytest.mark.parametrize(("alpha", "patience", "min_start"), [(0.5, 9, 8), (0.1, 15, 25)])
def test_emv_follows_its_definition(images: list[int], alpha: float, patience: int, min_start: int):
    script = random_script(3, 90, spread=SPREADS)[images]
    hook = ESEMV(alpha, patience, min_start=min_start)
    state = run_script(script, [hook])
    for row in range(len(images)):
        x = script[row].double().numpy()
        check(state, hook, row, emv_by_definition(x, alpha, patience, min_start))


def test_emv_counts_no_minimum_at_step_0():
    hook = ESEMV(0.1, 30, min_start=0)
    state = run_script(random_script(1, 10), [hook])
    assert state.curves["variance"][0, 0].isnan()
    assert int(hook.best_steps[0]) > 0


def ramp(n_frames: int, turn: int) -> Tensor:
    """Return frames that settle until ``turn`` and then alternate more and more widely."""
    t = torch.arange(n_frames)
    swing = torch.where(t <= turn, 0.4 * (1 - t / turn), 0.03 * (t - turn)) * (-1.0) ** t
    return (0.5 + swing)[None, :, None, None, None].expand(1, n_frames, 1, 2, 2)


def test_wmv_stops_at_the_known_step():
    """Frames 19 and 20 lie at 0.48 and 0.5, closer than any others: variance 0.01 squared."""
    hook = ESWMV(2, 6, min_start=0)
    state = run_script(ramp(60, turn=20), [hook])
    assert hook.best_steps.tolist() == [20]
    assert state.stop_steps == {0: 26}
    assert state.step == 26
    torch.testing.assert_close(state.output[0], ramp(60, 20)[0, 20])
    assert state.stop_reasons[0].startswith(
        "ES-WMV: the variance has not fallen for 6 steps since its minimum 0.0001 at step 20"
    )


def test_a_constant_sequence_is_not_a_new_minimum():
    """Not a strict decrease: the first full window stays the choice."""
    script = torch.full((1, 40, 1, 4, 4), 0.3)
    hook = ESWMV(5, 10, min_start=0)
    state = run_script(script, [hook])
    assert hook.best_steps.tolist() == [4]
    assert state.stop_steps == {0: 14}
    assert state.curves["variance"][0, 4:15].abs().max() < 1e-15


def test_a_minimum_that_the_step_limit_reaches_is_returned():
    script = random_script(1, 50, spread=valley(50, 25)[None])
    hook = ESWMV(5, 1000, min_start=0)
    state = run_script(script, [hook])
    assert state.stop_steps == {}
    assert 0 < int(hook.best_steps[0]) < 49
    torch.testing.assert_close(state.output[0], script[0, int(hook.best_steps[0])])


def test_too_short_a_fit_returns_the_last_output():
    script = random_script(2, 6)
    for hook in (ESWMV(10, 3, min_start=0), ESEMV(0.1, 3, min_start=101)):
        state = run_script(script, [hook])
        assert state.stop_steps == {}
        assert hook.best_steps.tolist() == [-1, -1]
        torch.testing.assert_close(state.output, script[:, -1])


def test_wmv_precision_survives_an_outlier():
    """A wild frame leaves no rounding error behind once the sums were replaced."""
    script = random_script(1, 60, spread=torch.full((1, 60), 1e-4))
    script[0, 3] = 1e6
    state = run_script(script, [ESWMV(8, 1000, min_start=0)])
    expected = wmv_by_definition(script[0].double().numpy(), 8, 1000, 0)[0]
    np.testing.assert_allclose(state.curves["variance"][0, 24:], expected[24:], rtol=1e-6)


def test_a_diverged_image_returns_its_choice_and_its_neighbour_goes_on():
    script = random_script(2, 40, spread=SPREADS[:2, :40])
    losses = torch.ones(2, 40)
    losses[0, 12] = torch.nan
    script[0, 12] = torch.nan
    hook = ESWMV(4, 1000, min_start=0)
    state = run_script(script, [hook], losses=losses)
    assert state.stop_steps == {0: 12}
    assert state.stop_reasons == {0: "diverged"}
    torch.testing.assert_close(state.output[0], script[0, int(hook.best_steps[0])])
    alone = run_script(script[1:], [ESWMV(4, 1000, min_start=0)])
    torch.testing.assert_close(state.output[1:], alone.output)


def test_state_is_reset_between_fits():
    hook = ESWMV(4, 8, min_start=0)
    script = random_script(2, 60, spread=SPREADS[:2, :60])
    first, again = run_script(script, [hook]), run_script(script, [hook])
    assert first.stop_steps == again.stop_steps != {}
    assert torch.equal(first.output, again.output)


def test_a_stopping_rule_overrides_the_average():
    script = random_script(1, 60, spread=SPREADS[:1, :60])
    hook = ESWMV(4, 8, min_start=0)
    state = run_script(script, [OutputEMA(0.9, bias_correction=True), hook])
    torch.testing.assert_close(state.output[0], script[0, int(hook.best_steps[0])])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ESWMV(1, 5, min_start=0), "window must be at least 2 steps, got 1"),
        (lambda: ESWMV(5, 0, min_start=0), "patience must be at least 1 step, got 0"),
        (lambda: ESWMV(5, 5, min_start=-1), "min_start must be at least 0, got -1"),
        (
            lambda: ESWMV(5, 5, min_start=0, max_pixels=0),
            "max_pixels must be at least 1 or None, got 0",
        ),
        (lambda: ESEMV(0.0, 5, min_start=0), r"alpha must be in \(0, 1\), got 0.0"),
        (lambda: ESEMV(1.0, 5, min_start=0), r"alpha must be in \(0, 1\), got 1.0"),
        (lambda: ESEMV(0.1, 0, min_start=0), "patience must be at least 1 step, got 0"),
        (lambda: ESEMV(0.1, 5, min_start=-2), "min_start must be at least 0, got -2"),
    ],
)
def test_bad_arguments(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "first"),
    [(lambda: ESWMV(5, 99, min_start=0), 44), (lambda: ESEMV(0.3, 99, min_start=8), 48)],
)
def test_what_a_diverged_fit_showed_is_forgotten(make, first: int):
    """Frames 30 to 39 have collapsed to one value, as quiet as can be; 40 goes back to 28."""
    script = random_script(2, 90, spread=valley(90, 60).expand(2, -1))
    script[1, 30:40] = 0.5
    script[1, 40] = script[1, 28]
    losses = torch.ones(2, 90)
    losses[1, 40] = torch.nan
    hook = make()
    state = run_script(script, [hook], losses=losses, taken_back={40: {1: 28}})
    best = state.curves["chosen_step"][1]
    assert int(best[39]) in range(30, 40)
    assert best[40:first].isnan().all()  # the choice of 28 and before was lost to the false one
    assert set(best[first:].tolist()).isdisjoint(range(29, first))
    assert int(hook.best_steps[1]) >= first
    alone = run_script(script[:1], [make()])
    torch.testing.assert_close(state.output[0], alone.output[0])
