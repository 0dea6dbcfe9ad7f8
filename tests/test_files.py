import csv
import json
import math
import os
from pathlib import Path

import pytest
import torch

from metadip.report import (
    atomic_path,
    keep_earlier,
    markdown_table,
    prepare_folder,
    remove_leftovers,
    write_csv,
    write_json,
)
from metadip.types import UserError


def test_a_file_appears_whole_and_alone(tmp_path: Path):
    path = tmp_path / "new" / "a.png"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".png"
        temporary.write_text("one")
        assert not path.exists()
    with atomic_path(path) as temporary:
        temporary.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert os.listdir(path.parent) == ["a.png"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path):
    kept = ["a.png", ".hidden", ".a.12345678.png", ".a.tmp", "b.12345678.tmp.png"]
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / "deep").mkdir()
    with atomic_path(tmp_path / "a.b.png") as temporary:
        temporary.touch()
        copies = [tmp_path / "deep" / temporary.name, temporary]
        copies[0].touch()
        remove_leftovers(tmp_path)
        assert [copy.exists() for copy in copies] == [True, False]
        temporary.touch()
    (tmp_path / ".probe.0123abcd.tmp").touch()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "a.b.png", "deep"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_write_changes_nothing(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half():
        with atomic_path(path) as temporary:
            temporary.write_text("ha")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_earlier_files_are_numbered_in_order_of_time(tmp_path: Path):
    path = tmp_path / "metrics.csv"
    keep_earlier(path)
    assert os.listdir(tmp_path) == []
    for text in ("first", "second"):
        path.write_text(text)
        keep_earlier(path)
    assert sorted(os.listdir(tmp_path)) == ["metrics.1.csv", "metrics.2.csv"]
    assert (tmp_path / "metrics.1.csv").read_text() == "first"
    assert (tmp_path / "metrics.2.csv").read_text() == "second"


def test_files_keep_the_usual_permissions(tmp_path: Path):
    write_json(tmp_path / "a.json", 1)
    (tmp_path / "b.json").write_text("1")
    modes = [(tmp_path / name).stat().st_mode for name in ("a.json", "b.json")]
    assert modes[0] == modes[1]


def test_unwritable_places_are_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        UserError, match=r"cannot write to folder '.*file': .*; choose another fold"
    ):
        write_json(tmp_path / "file" / "a.json", {})
    with pytest.raises(UserError, match=r"cannot write '.*folder': is a directory; choose another"):
        write_json(tmp_path / "folder", {})
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path: Path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match=r"folder '.*locked': permission denied"):
        prepare_folder(tmp_path / "locked")


def test_prepare_folder(tmp_path: Path):
    assert prepare_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert os.listdir(tmp_path / "a" / "b") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"cannot write to folder '.*b': \S.*; choose another folder"
    ):
        prepare_folder(tmp_path / "file" / "b")


def test_json_holds_null_for_what_is_no_number(tmp_path: Path):
    path = tmp_path / "a.json"
    content = {"a": math.nan, "b": [math.inf, 1.5], "c": torch.tensor([1.0, math.nan]), "d": path}
    write_json(path, content | {"ü": True, 3: None, "e": (1, "x")})
    text = path.read_text("utf-8")
    assert "ü" in text
    assert json.loads(text) == {
        "a": None, "b": [None, 1.5], "c": [1.0, None], "d": str(path), "ü": True, "3": None,
        "e": [1, "x"],
    }  # fmt: skip


def test_json_refuses_what_it_cannot_tell(tmp_path: Path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "a.json", {"a": object()})
    assert os.listdir(tmp_path) == []


ROWS = [
    {"name": "a|b", "psnr_db": 31.518, "steps": 50},
    {"name": "c", "psnr_db": math.nan, "steps": None},
    {"name": "d", "psnr_db": 7},
]


def test_markdown_table():
    table = markdown_table(ROWS, {"name": "image", "psnr_db": "PSNR (dB)"}, {"psnr_db": ".2f"})
    assert table.splitlines() == [
        "| image | PSNR (dB) |",
        "|:------|----------:|",
        r"| a\|b  |     31.52 |",
        "| c     |         - |",
        "| d     |      7.00 |",
    ]
    assert markdown_table([], ["x"], {}).splitlines() == ["| x   |", "|:----|"]
    with pytest.raises(ValueError, match="formats for columns that are not shown: psnr"):
        markdown_table(ROWS, ["name"], {"psnr": ".2f"})


def test_csv(tmp_path: Path):
    write_csv(tmp_path / "a.csv", ROWS)
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["name", "psnr_db", "steps"], ["a|b", "31.518", "50"], ["c", "", ""], ["d", "7", ""],
        ]  # fmt: skip
    write_csv(tmp_path / "b.csv", ROWS, ["steps"])
    assert (tmp_path / "b.csv").read_text().splitlines()[:2] == ["steps", "50"]
    (tmp_path / "c.csv").mkdir()
    with pytest.raises(UserError, match=r"cannot write '.*c\.csv': is a directory"):
        write_csv(tmp_path / "c.csv", ROWS)
