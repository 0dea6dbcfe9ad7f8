"""What a run writes of one image."""

import json
import math
import os
from pathlib import Path

import torch
from PIL import Image

from metadip.report import ResultWriter
from metadip.types import FitResult
from tests.callbacks.scripted import without_physics


def test_a_fit_that_diverged_at_once_has_its_entry(tmp_path: Path):
    (problem,) = without_physics([None], (3, 8, 6))
    x_hat, loss = torch.full((1, 3, 8, 6), math.nan), torch.full((1,), math.nan)
    (tmp_path / "curves.png").write_text("of an earlier run")
    diverged = FitResult(x_hat, 0, 0, "diverged", 0.1, {"loss": loss})
    ResultWriter(tmp_path, single=True).write(problem, diverged)
    entry = json.loads((tmp_path / "entries" / "image0.json").read_text("utf-8"))
    assert (entry["name"], entry["stop_reason"]) == ("image0", "diverged")
    pictures = ["comparison.png", "reconstruction.png"]  # the measurement has another shape
    assert sorted(os.listdir(tmp_path)) == sorted(["curves.json", "entries", *pictures])
    result = diverged._replace(curves={"loss": torch.ones(1)})
    ResultWriter(tmp_path, single=True).write(problem, result)
    with Image.open(tmp_path / "curves.png") as image:
        image.load()
