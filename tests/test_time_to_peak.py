"""The time until a method comes near another's best step, from cells written by hand."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, repo: Path) -> ModuleType:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    return importlib.import_module("time_to_peak")


def cell(method: str, curve: list[float], seconds: float, image: str = "a") -> dict[str, object]:
    place = {"method": method, "task": "denoise", "set": "faces", "image": image, "seed": 0}
    scores = {"psnr_db": curve[-1], "best_psnr_db": max(curve), "seconds": seconds}
    return {**place, **scores, "curves": {"psnr_db": curve}}


def test_times_by_hand(script: ModuleType) -> None:
    entries = [
        cell("dip", [10, 20, 30, 25], 3.0),
        cell("fast", [29.5, 29.6], 8.0),
        cell("slow", [10, 20, 29, 29.9], 6.0),
        cell("slow", [10, 20], 6.0, image="b"),  # nothing of dip to compare with
        cell("poor", [10, 29.4], 1.0),
    ]
    rows = {row["method"]: row for row in script.rows_of(entries, "dip", 0.5)}
    assert {name: row["seconds"] for name, row in rows.items()} == {
        "dip": 2.0, "fast": 0.0, "slow": 6.0, "poor": None,
    }  # fmt: skip
    assert rows["slow"]["there"] == "1 of 1"
    assert rows["poor"]["goal_db"] == 29.5


def test_the_command(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "a.json").write_text(json.dumps(cell("dip", [10.0, 20.0], 3.0)))
    assert script.main([str(tmp_path)]) == 0
    assert "| denoise | faces | dip    |   20.00 |   19.50 | 1 of 1 |     3.0 |" in (
        capsys.readouterr().out
    )
    assert script.main([str(tmp_path), "--of", "drp"]) == 2
    assert "has no finished cell of drp" in capsys.readouterr().err
