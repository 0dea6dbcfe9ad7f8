"""Methods that are a representation, an objective and hooks, through ``infer.py``."""

import json
import math
from pathlib import Path

import pytest
import torch

from metadip import config, runs
from metadip.data import sample_picture
from metadip.types import UserError
from tests.tiny import COMMON, infer

SMALL = ["prior.network.channels=[8,8]", "prior.network.skip_channels=[4,4]", "fit.steps=3"]


@pytest.fixture
def photo(tmp_path: Path) -> list[str]:
    return [f"input={sample_picture('astronaut.png')}", "image_size=32", f"out={tmp_path / 'out'}"]


@pytest.mark.parametrize(
    ("method", "task"),
    [
        ("dip_sure", "denoise"),
        ("aseq_dip", "denoise"),
        ("aseq_dip", "cs"),
        ("aseq_dip", "inpaint"),
    ],
)
def test_a_built_in_picture(method: str, task: str, photo: list[str], tmp_path: Path):
    metrics = infer(f"method={method}", f"task={task}", *SMALL, *photo)
    (entry,) = metrics["images"]
    assert math.isfinite(entry["psnr_db"])
    assert entry["steps"] == 3
    assert len(json.loads((tmp_path / "out" / "curves.json").read_text("utf-8"))["loss"]) == 4


def test_a_fit_from_the_result_of_hio(photo: list[str], tmp_path: Path):
    widths = [
        f"prior.{part}.network.{key}"
        for part in ("magnitude", "phase")
        for key in ("channels=[4]", "skip_channels=[2]")
    ]
    words = [
        "method=hio_double_dip", "task=cdi", *widths, "method.first.cycles=20",
        "method.first_steps=2", "fit.steps=2", *photo, *COMMON,
    ]  # fmt: skip
    runs.infer(config.compose("infer", words))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    assert len(metrics["images"][0]["first_and_fit"]["residuals"]) == 2


def test_sure_is_for_denoising(photo: list[str]):
    words = ["method=dip_sure", "task=inpaint", "task.noise_std=0.1", *SMALL, *photo, *COMMON]
    with pytest.raises(UserError, match="SURE serves denoising alone"):
        runs.infer(config.compose("infer", words))


BLUR = '''
import torch
from deepinv.physics import Blur


def unknown_blur(content):
    """Blur by a kernel that nobody knows."""
    return Blur(filter=torch.ones(1, 1, 5, 5) / 25)
'''


def test_a_blind_blur_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_blur.py").write_text(BLUR, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    y = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.save({"y": y, "image_shape": (1, 32, 32)}, tmp_path / "y.pt")
    widths = [f"prior.image.{word.partition('prior.')[2]}" for word in SMALL[:2]]
    metrics = infer(
        "method=dip", "prior=blind_blur", "optimizer=blind_blur", "prior.kernel.size_px=5", *widths,
        "physics=own_blur:unknown_blur", f"measurement={tmp_path / 'y.pt'}", "fit.steps=3",
        f"out={tmp_path / 'out'}",
    )  # fmt: skip
    assert metrics["images"][0]["steps"] == 3
