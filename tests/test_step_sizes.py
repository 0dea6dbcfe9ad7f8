"""Step sizes for the methods of a table: every rate of a rule scaled, the best one chosen."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from metadip import config


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, repo: Path) -> ModuleType:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    return importlib.import_module("step_sizes")


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        (["method=dip"], ["optimizer.lr=0.03"]),
        (["method=dip", "optimizer.lr=0.1"], ["optimizer.lr=0.3"]),
        (
            ["method=dop"],
            ["optimizer.groups.weights.rule.lr=3", "optimizer.groups.outliers.rule.lr=1500"],
        ),
    ],
)
def test_every_step_size_is_scaled(script: ModuleType, settings: list[str], rates: list[str]):
    row = script.scaled({"label": "it", "settings": settings}, 3)
    assert row["settings"] == [*settings, *rates]
    assert row["label"] == "it, 3 times the step size"
    config.compose("infer", row["settings"])


def test_the_best_factor_is_that_over_the_images_that_all_ran_on(script: ModuleType):
    def cell(method: str, image: str, psnr_db: float) -> dict[str, object]:
        place = {"task": "denoise", "set": "images", "image": image, "seed": 0}
        return {"method": method, "psnr_db": psnr_db, **place}

    cells = [
        cell("dip", "a", 20), cell("dip", "b", 24), cell("dip", "c", 90),
        cell("dip_lr_x3", "a", 21), cell("dip_lr_x3", "b", 25), cell("drp", "a", 30),
    ]  # fmt: skip
    assert script.best_of(cells, [3]) == [
        {"method": "dip", "best_factor": 3, "fits": 2, "times_1_db": 22, "times_3_db": 23}
    ]


def test_a_quick_table_names_the_best(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = [
        "table=overfitting", "quick=true", "methods=[drp]", "progress=false",
        "tasks=[gaussian_low]", "threads=1", "device=cpu", f"out={tmp_path}", "--factors", "1e-6",
    ]  # fmt: skip
    assert script.main(arguments) == 0
    assert "drp: 1 times its step size" in capsys.readouterr().out  # less hardly moves
    assert (tmp_path / "step_sizes.csv").read_text().startswith("method,best_factor,fits,times_")
