import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from metadip.callbacks import ESWMV
from metadip.fitting import Adam, Execution, fit
from metadip.report import FitGif
from metadip.report.gif import frame_steps, save_gif
from metadip.types import UserError
from tests.callbacks.scripted import random_script, run_script
from tests.fitting.tiny import MSE, noisy, tiny_prior


def read(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        assert image.format == "GIF"
        assert image.info["loop"] == 0
        return [np.asarray(f.convert("RGB")).astype(int) for f in ImageSequence.Iterator(image)]


def shades(n_frames: int, *, n: int = 1) -> torch.Tensor:
    """Return frames (n, T, 3, 8, 6) of one shade each, brighter from step to step."""
    levels = torch.linspace(0.1, 0.9, n_frames)
    return levels[None, :, None, None, None].expand(n, -1, 3, 8, 6)


def test_frames_are_the_outputs_at_the_steps_and_the_result(tmp_path: Path):
    run_script(shades(101), [FitGif(tmp_path, single=True, frames=7)])
    assert os.listdir(tmp_path) == ["fit.gif"]
    frames = read(tmp_path / "fit.gif")
    steps = frame_steps(100, 6)
    assert steps == [0, 2, 5, 15, 39, 100]
    assert len(frames) == 7
    expected = [*steps, 100]  # the result is the last output
    for frame, step in zip(frames, expected, strict=True):
        assert frame.shape == (8 * 32 + 18, 6 * 32, 3)  # enlarged, with a caption below
        assert abs(frame[:256] - 255 * (0.1 + 0.8 * step / 100)).max() <= 1
        assert frame[256:].min() < 100 < frame[256:].max()  # there is text


@pytest.mark.parametrize(
    ("n_steps", "count", "steps"),
    [(0, 5, [0]), (1, 5, [0, 1]), (3, 9, [0, 1, 2, 3]), (99, 3, [0, 9, 99]), (50, 1, [0])],
)
def test_steps_shown(n_steps: int, count: int, steps: list[int]):
    assert frame_steps(n_steps, count) == steps


def test_each_image_has_its_own_and_an_early_end_shows_what_is_returned(tmp_path: Path):
    script = shades(30, n=2).clone()
    script[1] = 1 - script[1]
    losses = torch.ones(2, 30)
    losses[0, 12] = torch.nan
    hook = FitGif(tmp_path, single=False, frames=12)
    state = run_script(script, [hook], losses=losses)
    assert sorted(os.listdir(tmp_path)) == ["image0", "image1"]
    first, second = (read(tmp_path / f"image{i}" / "fit.gif") for i in range(2))
    assert len(second) == len(frame_steps(29, 11)) + 1
    assert len(first) == len([s for s in frame_steps(29, 11) if s <= 12]) + 1
    for frames, output in zip((first, second), state.output, strict=True):
        assert abs(frames[-1][:256] - 255 * output[0, 0, 0].item()).max() <= 1


def test_a_stopping_rule_before_it_decides_the_last_frame(tmp_path: Path):
    script = random_script(1, 40)
    hook = ESWMV(4, 1000, min_start=0)
    run_script(script, [hook, FitGif(tmp_path, single=True, frames=3)])
    last = read(tmp_path / "fit.gif")[-1]
    expected = 255 * script[0, int(hook.best_steps[0])].clamp(0, 1).permute(1, 2, 0).numpy()
    scale = last.shape[1] // 5
    assert abs(last[: 4 * scale : scale, ::scale] - expected).max() <= 2  # few colours: kept


def test_the_last_caption_tells_the_chosen_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    captions: list[str] = []
    monkeypatch.setattr("metadip.report.gif.save_gif", lambda _, f: captions.append(f[-1][0]))
    rule = ESWMV(4, 1000, min_start=0)
    for hooks in ([rule], []):
        run_script(random_script(1, 40), [*hooks, FitGif(tmp_path, single=True, frames=3)])
    assert 0 < int(rule.best_steps[0]) < 39
    assert captions == [f"result of step {int(rule.best_steps[0])}", "result after 39 steps"]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_in_a_fit(tmp_path: Path, channels: int):
    problems = [noisy(seed, (channels, 9, 250)) for seed in range(2)]
    hook = FitGif(tmp_path, single=False, frames=4)
    prior = tiny_prior(channels=channels)
    for stacked in (False, True):
        execution = Execution(stacked=stacked)
        fit(problems, prior, MSE, Adam(lr=0.01), steps=5, hooks=[hook], execution=execution)
        for seed in range(2):
            frames = read(tmp_path / str(seed) / "fit.gif")
            assert len(frames) == 4
            assert frames[0].shape == (9 + 18, 250, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: FitGif(p, single=True, frames=1), "frames must be at least 2, got 1"),
        (lambda p: save_gif(p / "a.gif", []), "no frames for an animation"),
    ],
)
def test_bad_arguments(tmp_path: Path, make, message: str):
    with pytest.raises(ValueError, match=message):
        make(tmp_path)
    assert os.listdir(tmp_path) == []


def test_an_unwritable_place_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to folder '.*file'"):
        run_script(shades(3), [FitGif(tmp_path / "file", single=True, frames=3)])
