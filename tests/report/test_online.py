"""What goes to Weights & Biases is what the pages show; logged offline here."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from metadip.report import log_run, log_table, save_image, write_csv


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


def logged(out: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the tables by name, and the kinds of the pictures."""
    media = next((out / "wandb").glob("offline-run-*")) / "files" / "media"
    tables = {
        file.name.split("_")[0]: json.loads(file.read_text())
        for file in (media / "table").rglob("*.json")
    }
    return tables, sorted(file.name.rsplit("_", 2)[0] for file in (media / "images").glob("*.png"))


def test_pictures_and_numbers_of_a_run_are_logged(tmp_path: Path):
    for name in ("a", "b"):
        for kind in ("measured", "reconstruction", "comparison"):
            (tmp_path / name).mkdir(exist_ok=True)
            save_image(tmp_path / name / f"{kind}.png", torch.rand(3, 8, 8))
    save_image(tmp_path / "b" / "curves.png", torch.rand(3, 8, 8))
    images = [{"name": n, "psnr_db": 30.5, "seconds": 1.0, "steps": 5} for n in ("a", "b")]
    log_run(tmp_path, {"images": images, "mean": {"psnr_db": 30.5, "ssim": None}}, single=False)
    tables, pictures = logged(tmp_path)
    assert tables["images"]["columns"] == ["name", "psnr_db", "ssim", "seconds", "steps"]
    assert tables["images"]["data"] == [["a", 30.5, None, 1.0, 5], ["b", 30.5, None, 1.0, 5]]
    expected = ["comparison", "curves", "measured", "reconstruction"]
    assert pictures == sorted([*expected, "comparison", "measured", "reconstruction"])


def test_tables_and_figures_of_a_benchmark_are_logged(tmp_path: Path):
    write_csv(tmp_path / "summary.csv", [{"method": "dip", "psnr_db": 30.0}])
    write_csv(tmp_path / "results.csv", [{"method": "dip", "image": "a"}])
    save_image(tmp_path / "nmse_curves.png", torch.rand(3, 8, 8))
    log_table(tmp_path)
    tables, pictures = logged(tmp_path)
    assert tables["summary"]["data"] == [["dip", "30.0"]]
    assert tables["results"]["columns"] == ["method", "image"]
    assert pictures == ["figures"]
