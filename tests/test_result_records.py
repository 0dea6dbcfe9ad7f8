"""Committed results: every CSV has known columns, typed values, and a record beside it."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

RESULTS = sorted((Path(__file__).resolve().parents[1] / "benchmarks" / "results").glob("*.csv"))
ROWS = "method,task,psnr_db,seconds\ndip,denoise,30.1,2\nbm3d,denoise,31,\n"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, repo: Path) -> ModuleType:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    return importlib.import_module("result_records")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_results_keep_to_the_schema(script: ModuleType, path: Path):
    assert script.faults(path) == []


def test_each_record_belongs_to_results():
    names = {path.stem for path in RESULTS}
    assert {path.stem for path in RESULTS[0].parent.glob("*.json")} <= names


@pytest.fixture
def results(script: ModuleType, tmp_path: Path) -> Path:
    path = tmp_path / "times.csv"
    path.write_text(ROWS)
    script.record(path, "python benchmarks/times.py")
    assert script.faults(path) == []
    return path


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("psnr_db", "quality", "column 'quality' has no type"),
        ("seconds", "psnr_db", "two columns have one name"),
        ("30.1", "nan", "line 2: psnr_db='nan' is no float"),
        ("30.1", "30,1", "line 2 has 5 values for 4 columns"),
        ("bm3d", "dip", "two rows on dip, denoise"),
        ("bm3d", " bm3d", "line 3: method=' bm3d' is no str"),
        (ROWS[ROWS.index("dip") :], "", "no rows"),
    ],
)
def test_a_bad_table_is_found(
    script: ModuleType, results: Path, before: str, after: str, text: str
):
    results.write_text(ROWS.replace(before, after, 1))
    assert f"times.csv: {text}" in script.faults(results)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"date": None}, "times.json has no date"),
        ({"date": "last week"}, "times.json: date 'last week' is none"),
        ({"command": "by hand"}, "times.json: the command does not begin with python"),
        ({"versions": "new"}, "times.json: versions must be a dict"),
        ({"author": "me"}, "times.json: 'author' is unknown"),
    ],
)
def test_a_bad_record_is_found(
    script: ModuleType, results: Path, changes: dict[str, object], text: str
):
    record = results.with_suffix(".json")
    record.write_text(json.dumps(json.loads(record.read_text()) | changes))
    assert f"times.csv: {text}" in script.faults(results)


def test_a_missing_record_is_found_and_written(
    script: ModuleType, results: Path, capsys: pytest.CaptureFixture[str]
):
    results.with_suffix(".json").unlink()
    assert script.faults(results) == [
        "times.csv: there is no times.json, which tells how it was made"
    ]
    assert script.main([str(results), "--command", "python x.py", "--note", "a"]) == 0
    assert json.loads(results.with_suffix(".json").read_text())["note"] == "a"
    assert capsys.readouterr().out == "1 files: nothing wrong\n"


def test_the_record_of_a_run_names_no_folder_of_a_machine(script: ModuleType, results: Path):
    argv = ["metadip/benchmark.py", "table=cs", "faces=/data/f", "count=2", "out=/tmp/x"]
    (results.parent / "environment.json").write_text(json.dumps({"argv": argv}))
    script.record_run(results.parent, results)
    command = json.loads(results.with_suffix(".json").read_text())["command"]
    assert command == "python benchmark.py table=cs faces=FACES count=2 out=OUT"
