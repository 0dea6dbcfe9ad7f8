"""The benchmark of sizes at tiny ones: a row per size and per tile, in the CSV too."""

import csv
import importlib
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, repo: Path) -> ModuleType:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    return importlib.import_module("sizes")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_every_row_is_measured(script, tmp_path: Path, monkeypatch, capsys):
    def here(row, options):
        name, size, tile_px = row
        return script.measure(name, size, tile_px, options.rounds)

    monkeypatch.setattr(script, "in_a_process", here)
    monkeypatch.setattr(script, "TILE_PX", 16)
    words = ["--sizes", "32x32", "48x40", "--tiles", "16", "--photograph", "64x48", "--rounds", "1"]
    rows = script.main([*words, "--out", str(tmp_path / "sizes.csv")])
    found = [(row["method"], row["size"], row["tile_px"]) for row in rows]
    assert found == [
        ("photo_pass", "32x32", 0),
        ("photo_pass", "48x40", 0),
        ("photo", "32x32", 0),
        ("photo", "48x40", 0),
        ("mixed64", "32x32", 0),
        ("mixed64", "48x40", 0),
        ("photo_pass", "48x40", 16),
        ("photo_pass", "64x48", 16),
    ]
    assert all(row["seconds"] > 0 for row in rows)
    assert [row["seam"] is None for row in rows] == [True] * 6 + [False] * 2
    assert max(row["seam"] for row in rows[6:]) < 1e-5
    assert "64x48" in capsys.readouterr().out
    with (tmp_path / "sizes.csv").open() as file:
        assert [line["size"] for line in csv.DictReader(file)] == [size for _, size, _ in found]


def test_a_probe_is_called_with_what_it_reads(script, monkeypatch):
    monkeypatch.setattr(
        script.subprocess,
        "run",
        lambda command, **_: type("Done", (), {"stdout": repr(command[2:]).replace("'", '"')})(),
    )
    told = script.in_a_process(("mixed64", "64x64", 0), script.parse(["--quick"]))
    options = script.parse(told)
    assert (options.probe, options.rounds) == (["mixed64", "64x64", "0"], 1)
