"""The picture of the normalised error over the rate, from rows written by hand."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROWS = [
    ("net_gd", "cs_1", "a", "0.1"),
    ("net_gd", "cs_1", "b", "0.3"),
    ("net_gd", "cs_5", "a", "0.01"),
    ("net_pgd", "cs_1", "a", "0.2"),  # one rate alone is no line
    ("net_pgd", "cpr_3", "a", "0.5"),
    ("net_pgd", "cpr_5", "a", "0.4"),
    ("net_pgd", "cpr_5", "b", ""),
]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, repo: Path) -> ModuleType:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    return importlib.import_module("rate_picture")


def table(path: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    lines = [f"{method},{task},mnist,{image},{nmse}" for method, task, image, nmse in rows]
    path.write_text("\n".join(["method,task,set,image,nmse", *lines]))
    return path


def test_a_line_is_the_median_over_images_at_each_rate(script: ModuleType, tmp_path: Path):
    panels = script.panels_of(table(tmp_path / "rows.csv", ROWS))
    assert panels == {
        ("cs", "mnist"): {"Net-GD (digits)": {0.1: pytest.approx(0.2), 0.5: 0.01}},
        ("cpr", "mnist"): {"Net-PGD (digits)": {0.3: 0.5, 0.5: 0.4}},
    }


def test_it_is_drawn(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "picture.png"
    assert script.main([str(table(tmp_path / "rows.csv", ROWS)), "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert script.main([str(table(tmp_path / "one.csv", ROWS[:1])), "--out", str(out)]) == 2
    assert "no method ran at two rates" in capsys.readouterr().err
