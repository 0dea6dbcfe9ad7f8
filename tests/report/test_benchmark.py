"""Numbers of a benchmark table against hand-computed ones, and what its files hold."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from metadip.report import Table, read_cells
from metadip.report.benchmark.score_cells import judge
from metadip.report.benchmark.score_tables import markdown
from metadip.report.benchmark.summary import best_methods, summarize
from metadip.types import UserError
from tests.report.made_up_cells import fill_folder, make_table, write, write_cell


def fill_by_hand(out: Path) -> None:
    """Write one task and set: the reference on 3 images, DIP on 3, TV on one and a failure."""
    for image, reference, dip in (("a", 30.0, 29.0), ("b", 32.0, 32.5), ("c", 34.0, 33.0)):
        write_cell(out, method="metadip", image=image, psnr_db=reference, seconds=1.0, steps=50)
        curves = {"psnr_db": [10.0, 20.0, None, 29.0], "psnr_raw_db": [11.0, reference, 12.0, 29.0]}
        write_cell(
            out, method="dip", image=image, psnr_db=dip, seconds=6.0, steps=3,
            curves=curves if image != "c" else {"psnr_db": [10.0, 33.9, 33.0], "psnr_raw_db": []},
            best_psnr_db=dip + 1, best_step=2,
        )  # fmt: skip
    write_cell(out, method="tv", image="a", psnr_db=40.0, curves={"psnr_db": [40.0]})
    write_cell(out, method="tv", image="b", psnr_db=None, ssim=None, nmse=None)


def rows_by_hand(out: Path, **changes: Any) -> tuple[Table, dict[str, dict[str, Any]]]:
    fill_by_hand(out)
    table = make_table(tasks={"denoise_25": "Denoising"}, sets={"shapes": "shapes"}, **changes)
    rows = summarize(table, judge(read_cells(out), table))
    return table, {row["method"]: row for row in rows}


def test_means_and_differences(tmp_path: Path):
    _, rows = rows_by_hand(tmp_path)
    assert list(rows) == ["metadip", "dip", "tv", "bm3d"]
    dip = rows["dip"]
    assert dip["psnr_db"] == pytest.approx((29 + 32.5 + 33) / 3)
    mean = 31.5
    variance = ((29 - mean) ** 2 + (32.5 - mean) ** 2 + (33 - mean) ** 2) / 2
    assert dip["psnr_sd_db"] == pytest.approx(math.sqrt(variance))
    # differences -1, 0.5, -1: mean -0.5, variance (0.25 + 1 + 0.25) / 2 = 0.75
    assert dip["difference_db"] == pytest.approx(-0.5)
    assert dip["difference_se_db"] == pytest.approx(math.sqrt(0.75 / 3))
    assert (dip["difference_images"], dip["images"], dip["best_psnr_db"]) == (3, 3, 32.5)
    assert rows["metadip"]["published_db"] == 30.7
    assert rows["metadip"]["difference_db"] is None


def test_missing_cells_are_counted(tmp_path: Path):
    table, rows = rows_by_hand(tmp_path)
    tv = rows["tv"]
    assert (tv["images"], tv["expected_images"], tv["psnr_sd_db"]) == (1, 3, None)
    assert (tv["difference_db"], tv["difference_se_db"], tv["difference_images"]) == (10, None, 1)
    assert best_methods(list(rows.values())) == {("denoise_25", "shapes", "metadip")}
    text = markdown(table, list(rows.values()))
    assert "| TV" in text
    assert "| 40.00 (n = 1 of 3)" in text
    assert "| +10.00 (n = 1)" in text
    assert "**32.00** (paper 30.7)" in text
    assert "| BM3D (not run: its package is missing) | - (paper 31.9)" in text


def test_seeds_of_an_image_count_once(tmp_path: Path):
    for image, psnr in (("a", (20.0, 22.0)), ("b", (31.0,))):
        for seed, value in enumerate(psnr):
            write_cell(tmp_path, method="dip", image=image, seed=seed, psnr_db=value)
    for image, seed in (("a", 0), ("a", 1), ("b", 0), ("b", 1)):
        write_cell(tmp_path, method="metadip", image=image, seed=seed, psnr_db=30.0)
    table = make_table()
    rows = summarize(table, judge(read_cells(tmp_path), table))
    dip = next(row for row in rows if row["method"] == "dip")
    assert dip["psnr_db"] == 26.0
    assert dip["difference_db"] == -4.0
    assert "| 2, 3 of 4 runs " in markdown(table, rows)


def test_steps_to_reference(tmp_path: Path):
    """Image a: 30 dB at step 1 of the single steps; b: 32 dB there; c: never 34 dB."""
    table, rows = rows_by_hand(tmp_path)
    cells = {(c["method"], c["image"]): c for c in judge(read_cells(tmp_path), table)}
    found = [cells["dip", image]["steps_to_reference"] for image in "abc"]
    assert found == [1, 1, None]
    assert [cells["dip", image]["seconds_to_reference"] for image in "abc"] == [2.0, 2.0, None]
    assert not cells["tv", "a"]["judged"]  # one value is no curve
    assert (rows["dip"]["steps_to_reference"], rows["dip"]["never"]) == (1, 1)
    assert "| 1 (1 of 3 never) " in markdown(table, list(rows.values()))


def test_never_counts_as_infinitely_many_steps(tmp_path: Path):
    for image, top in (("a", 30.0), ("b", 29.0)):
        write_cell(tmp_path, method="metadip", image=image, psnr_db=30.0)
        curves = {"psnr_db": [10.0, 20.0, top]}
        write_cell(tmp_path, method="dip", image=image, psnr_db=top, steps=2, curves=curves)
    table = make_table()
    rows = summarize(table, judge(read_cells(tmp_path), table))
    dip = next(row for row in rows if row["method"] == "dip")
    assert (dip["steps_to_reference"], dip["judged"], dip["never"]) == (None, 2, 1)
    assert "| never (1 of 2) " in markdown(table, rows)


def test_rounding_does_not_hide_the_own_result(tmp_path: Path):
    write_cell(
        tmp_path, method="metadip", image="a", psnr_db=30.00001, steps=2,
        curves={"psnr_db": [10.0, 20.0, 30.0]},
    )  # fmt: skip
    (cell,) = judge(read_cells(tmp_path), make_table())
    assert (cell["steps_to_reference"], cell["seconds_to_reference"]) == (2, 10.0)


def test_files(tmp_path: Path):
    fill_folder(tmp_path, side=16)
    write_cell(tmp_path, method="of_another_table", image="a1", psnr_db=50.0)
    write(tmp_path, make_table(tasks={"denoise_25": "Denoising"}))
    pictures = ["pictures_denoise_25_shapes.png", "pictures_denoise_25_waves.png"]
    texts = ["report.html", "results.csv", "summary.csv", "table.md"]
    expected = {"cells", "nmse_curves.png", *pictures, *texts}
    assert {file.name for file in tmp_path.iterdir()} == expected
    with (tmp_path / "results.csv").open(newline="") as file:
        results = list(csv.DictReader(file))
    assert len(results) == 2 * (3 + 3 + 1)
    first = results[0]
    assert [first[key] for key in ("method", "task", "set", "image", "seed")] == [
        "metadip", "denoise_25", "shapes", "a1", "0",
    ]  # fmt: skip
    assert float(first["psnr_db"]) == 30.0
    assert first["lpips"] == ""
    with (tmp_path / "summary.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 4


def test_cells_without_pictures_or_curves(tmp_path: Path):
    write_cell(tmp_path, method="tv", image="a", psnr_db=30.0)
    write(tmp_path, make_table(claims=[], notes=[], published={}))
    assert not (tmp_path / "nmse_curves.png").exists()
    assert "What the paper claims" not in (tmp_path / "report.html").read_text("utf-8")
    assert "## Notes" not in (tmp_path / "table.md").read_text("utf-8")


def test_no_images(tmp_path: Path):
    with pytest.raises(ValueError, match="max_images must be at least 1, got 0"):
        write(tmp_path, make_table(), max_images=0)


def test_no_cells(tmp_path: Path):
    write_cell(tmp_path, method="unknown", image="a")
    with pytest.raises(UserError, match=r"no finished cell of table 'made_up' in '.*cells'; run"):
        write(tmp_path, make_table())


@pytest.mark.parametrize(
    ("content", "lacks"), [("{", "JSON"), ("[1]", "JSON"), ('{"method": "dip", "seed": 0}', "task")]
)
def test_broken_cells(tmp_path: Path, content: str, lacks: str):
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "x.json").write_text(content)
    with pytest.raises(UserError, match=rf"x.json' is no finished cell \(no {lacks}.*\); delete"):
        read_cells(tmp_path)


@pytest.mark.parametrize(
    "change", [{"reference": "pnp"}, {"published": {"pnp": {}}}, {"not_run": {"pnp": "slow"}}]
)
def test_methods_that_the_table_lacks(change: dict[str, Any]):
    with pytest.raises(UserError, match="'made_up' has no method 'pnp'; choose from metadip, dip"):
        make_table(**change)
