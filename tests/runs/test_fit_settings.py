"""The settings under ``fit`` reach the method, and what a run says of memory is shown."""

import logging
from pathlib import Path

import pytest

from metadip import config, runs
from metadip.fitting import Backtracking, Execution, memory
from metadip.types import UserError
from tests.tiny import COMMON, save_tiny_prior


def execution(tmp_path: Path, *settings: str) -> Execution:
    ckpt = save_tiny_prior(tmp_path / "prior.safetensors")
    cfg = config.compose("infer", [f"ckpt={ckpt}", *settings])
    config.check_settings(cfg)
    return runs.build_fit(cfg).execution


def test_defaults_are_those_of_the_library(tmp_path: Path):
    assert execution(tmp_path) == Execution()


def test_settings_reach_the_method(tmp_path: Path):
    settings = ["fit.stacked=true", "fit.memory_gb=1.5", "fit.backtracking=false"]
    expected = Execution(stacked=True, memory_bytes=1.5e9, backtracking=None, precision="bf16")
    assert execution(tmp_path, *settings, "fit.precision=bf16") == expected
    assert execution(tmp_path, "fit.backtracking=true").backtracking == Backtracking()


@pytest.mark.parametrize("value", ["0", "-1", "much", "true", ".nan", ".inf"])
def test_bad_budgets_are_refused(tmp_path: Path, value: str):
    with pytest.raises(UserError, match=r"fit\.memory_gb=\S+ must be a number above 0"):
        execution(tmp_path, f"fit.memory_gb={value}")


def test_a_run_says_how_many_images_go_together(tmp_path: Path, caplog):
    from metadip.data import sample_picture

    photos = tmp_path / "photos"
    photos.mkdir()
    for name in "ab":
        picture = Path(sample_picture("astronaut.png")).read_bytes()
        (photos / f"{name}.png").write_bytes(picture)
    memory.announce.cache_clear()
    ckpt = save_tiny_prior(tmp_path / "prior.safetensors")
    settings = [
        f"ckpt={ckpt}", f"input={photos}", "image_size=16", f"out={tmp_path / 'out'}",
        "fit.steps=1", "fit.stacked=true", "fit.memory_gb=1", *COMMON,
    ]  # fmt: skip
    metrics = runs.infer(config.compose("infer", settings))
    assert [entry["rollbacks"] for entry in metrics["images"]] == [0, 0]
    assert "fitting 2 images of 3x16x16 together: about " in caplog.text
    assert logging.getLogger("metadip").handlers  # it is printed
