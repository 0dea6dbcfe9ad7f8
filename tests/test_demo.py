"""The demo, end to end at tiny settings with an untrained prior."""

from pathlib import Path

import pytest
import torch

import metadip
from metadip import data, demo
from metadip.data import read_image, sample_picture
from metadip.report import save_image
from metadip.tasks import DenoisingTask
from tests.tiny import save_tiny_prior


@pytest.fixture
def small_photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the demo restore a part of its photograph."""
    part = tmp_path / "part.png"
    save_image(part, read_image(sample_picture(demo.PHOTOGRAPH))[None, :, 100:132, 100:140])
    monkeypatch.setattr(data, "sample_picture", {demo.PHOTOGRAPH: part}.__getitem__)


@pytest.mark.usefixtures("small_photograph")
def test_demo_prints_a_table_and_writes_the_pictures(tmp_path, capsys):
    untrained = save_tiny_prior(tmp_path / "untrained.safetensors")
    arguments = ["--ckpt", str(untrained), "--out", str(tmp_path / "demo")]
    assert demo.main([*arguments, "--steps", "1", "--dip-steps", "2"]) == 0
    written = sorted(path.name for path in (tmp_path / "demo").iterdir())
    assert written == ["cpr.png", "cs.png", "denoise.png", "photograph.png"]
    printed = capsys.readouterr().out
    assert printed.count("| metadip ") == 4
    assert printed.count("| total variation ") == 1
    assert printed.count("vanilla DIP, best step") == 3
    assert str(tmp_path / "demo" / "cs.png") in printed


def test_default_prior_takes_its_own_steps_and_dip_more():
    own = demo.build_method([]).steps
    assert all(task.dip_steps > own > 0 for task in demo.TASKS.values())


def test_a_fit_that_ends_early_is_looked_at_where_it_ended():
    problem = DenoisingTask(0.1, clip=False).measure(torch.rand(1, 3, 8, 8), seed=0)
    at, best = demo.look_at_fit(metadip.load("photo", tolerance=1.0), problem, 20)
    assert at.steps == 1
    assert best.psnr_db >= at.psnr_db


def test_unknown_prior_ends_in_one_line(tmp_path, capsys):
    assert demo.main(["--ckpt", "nothing", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ckpt=nothing")
    assert error.count("\n") == 1


def test_no_steps_are_refused(capsys):
    with pytest.raises(SystemExit):
        demo.main(["--steps", "0"])
    assert "must be at least 1" in capsys.readouterr().err
