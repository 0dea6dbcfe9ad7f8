"""Tables of the documents: they are what the committed results say."""

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from metadip.types import UserError

CELL = {"seed": 0, "ssim": 0.91234567, "steps": 3, "made_on": "cpu", "curves": {"psnr_db": [1.0]}}
BEGIN, END = "<!-- table photo_denoise: {} -->\n", "<!-- end of table -->"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, repo: Path) -> ModuleType:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    return importlib.import_module("document_tables")


@pytest.fixture
def results(script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of results made from a run of three methods on four images."""
    run, folder = tmp_path / "run", tmp_path / "results"
    (run / "cells").mkdir(parents=True)
    folder.mkdir()
    monkeypatch.setattr(script, "RESULTS", folder)
    monkeypatch.setattr(script, "REPO", tmp_path)
    numbers = {"photo_5": (31.0, 32.0), "bm3d": (30.0, 30.5), "dip": (29.0,)}
    for method, psnrs in numbers.items():
        for group, higher in (("faces", 0.0), ("patches", -1.0)):
            for image, psnr in enumerate(psnrs):
                entry = CELL | {"method": method, "task": "denoise_25", "set": group}
                entry |= {"image": str(image), "psnr_db": psnr + higher, "seconds": image + 0.5}
                entry |= {"best_psnr_db": 40.0 if method == "dip" else None}
                (run / "cells" / f"{method}-{group}-{image}.json").write_text(json.dumps(entry))
    assert script.take(run, "photo_denoise") == folder / "photo_denoise.csv"
    return folder


def test_documents_are_up_to_date(script, capsys: pytest.CaptureFixture[str]):
    assert script.main(["--check"]) == 0, capsys.readouterr().out


def test_a_row_is_a_task(script, results: Path):
    begin = BEGIN.format("methods=photo_5,bm3d,dip,dip:best tasks=denoise_25")
    text = script.renewed(f"before\n{begin}old\n{END}\nafter")
    assert text == (
        f"before\n{begin}"
        "| PSNR in dB: faces (1), natural patches (1) | photo (5 steps) | BM3D "
        "| DIP (1000 steps) | DIP (1000 steps), best step |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| noise 25 of 255 | **31.00**, **30.00** | 30.00, 29.00 | 29.00, 28.00 | 40.00, 40.00 |\n"
        f"{END}\nafter"
    )
    assert script.renewed(text) == text


def test_a_row_is_a_method_with_its_time(script, results: Path):
    begin = BEGIN.format(
        "methods=bm3d,photo_5 tasks=denoise_25 sets=patches rows=methods seconds=true"
    )
    assert script.renewed(begin + END) == (
        f"{begin}| PSNR in dB | natural patches (2) |\n| --- | --- |\n"
        f"| BM3D | 29.25, 1 s |\n| photo (5 steps) | **30.50**, 1 s |\n{END}"
    )


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("methods=nlm", "table photo_denoise: results have nothing on 'nlm'"),
        ("methods=bm3d tasks=denoise_15", "results have nothing on 'denoise_15'"),
        ("methods=bm3d tasks=denoise_25 row=x", "table photo_denoise: unknown option 'row=x'"),
    ],
)
def test_what_cannot_be_shown_is_refused(script, results: Path, asked: str, text: str):
    with pytest.raises(UserError, match=text):
        script.renewed(BEGIN.format(asked) + END)


def test_results_that_are_missing_are_told(script, results: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"there is no results/photo_whole\.csv: see --take"):
        script.renewed("<!-- table photo_whole: -->\n" + END)
    with pytest.raises(UserError, match="has no finished cells"):
        script.take(tmp_path / "results", "photo_whole")


def test_out_of_date_documents_are_named_and_written(
    script, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    begin = BEGIN.format("methods=bm3d tasks=denoise_25 sets=faces")
    (tmp_path / "README.md").write_text(begin + END)
    assert script.main(["--check"]) == 1
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0
    assert capsys.readouterr().out == "README.md: out of date\nREADME.md: written\n"


def test_the_last_single_step_and_the_error(script, results: Path, tmp_path: Path):
    cell = CELL | {"method": "dip", "task": "denoise_25", "set": "faces", "image": "0"}
    cell |= {"psnr_db": 30.0, "best_psnr_db": 31.0, "seconds": 1.0, "nmse": 0.0123456}
    cell |= {"curves": {"psnr_raw_db": [10.0, 25.0]}}
    (tmp_path / "run" / "cells" / "dip-faces-0.json").write_text(json.dumps(cell))
    script.take(tmp_path / "run", "photo_denoise")
    begin = BEGIN.format("methods=dip,dip:best,dip:last tasks=denoise_25 sets=faces")
    text = script.renewed(begin + END)
    assert "| DIP (1000 steps), best step | DIP (1000 steps), last step |" in text
    assert "| 30.00 | 31.00 | 25.00 |" in text
    assert "25.0,0.01235" in (results / "photo_denoise.csv").read_text()


def test_the_steps_to_the_reference(script, results: Path, tmp_path: Path):
    reached = {"0": [10.0, 29.0, 32.0], "1": [10.0, 20.0, 21.0], "2": [10.0, 31.5, 33.0]}
    for image, curve in reached.items():
        for method, psnr_db in (("photo_5", 31.0), ("dip", curve[-1])):
            cell = CELL | {"method": method, "task": "denoise_25", "set": "faces", "image": image}
            cell |= {"psnr_db": psnr_db, "seconds": 1.0, "curves": {"psnr_db": curve}}
            name = f"{method}-faces-{image}.json"
            (tmp_path / "run" / "cells" / name).write_text(json.dumps(cell))
    script.take(tmp_path / "run", "photo_denoise")
    asked = "methods=photo_5,dip,dip:steps tasks=denoise_25 sets=faces"
    text = script.renewed(BEGIN.format(asked) + END)
    assert "| DIP (1000 steps), steps to the same |" in text
    assert "| **31.00** | 28.67 | 2 |" in text  # of 2, never and 1
    assert ",never\n" in (results / "photo_denoise.csv").read_text().replace("\r", "")


def test_adding_replaces_cells_of_the_same_place_and_keeps_the_others(
    script, results: Path, tmp_path: Path
):
    place = CELL | {"method": "dip", "task": "denoise_25", "set": "faces", "seconds": 1.0}
    for run, cells in (("a", {"0": 30.0, "1": 31.0}), ("b", {"1": 32.0, "2": 33.0})):
        (tmp_path / run / "cells").mkdir(parents=True)
        for image, psnr_db in cells.items():
            cell = place | {"image": image, "psnr_db": psnr_db}
            (tmp_path / run / "cells" / f"{image}.json").write_text(json.dumps(cell))
        script.take(tmp_path / run, "other", table="photo_denoise", keep=True)
    lines = (results / "other.csv").read_text().splitlines()[1:]
    assert [(line.split(",")[3], line.split(",")[5]) for line in lines] == [
        ("0", "30.0"), ("1", "32.0"), ("2", "33.0"),
    ]  # fmt: skip


def test_rows_of_other_results_are_shown(script, results: Path):
    (results / "times.csv").write_text("size_px,ms,note\n64,3.14159,idle\n128,12,busy\n")
    begin, end = "<!-- rows times: columns=ms,size_px -->\n", "<!-- end of rows -->"
    rows = "| ms | size px |\n| --- | --- |\n| 3.14 | 64 |\n| 12 | 128 |\n"
    assert script.renewed(f"a\n{begin}old\n{end}\nb") == f"a\n{begin}{rows}{end}\nb"
    every = script.renewed(f"<!-- rows times: -->\n{end}")
    assert "| size px | ms | note |" in every
    assert "| 128 | 12 | busy |" in every
    with pytest.raises(UserError, match="must be columns= and some of size_px, ms, note"):
        script.renewed(f"<!-- rows times: columns=s -->\n{end}")


def test_rows_are_chosen_by_their_values(script, results: Path):
    (results / "times.csv").write_text("size_px,ms,note\n64,3.14159,idle\n128,12,busy\n")
    begin, end = "<!-- rows times: columns=ms note=busy,other -->\n", "<!-- end of rows -->"
    assert script.renewed(begin + end) == f"{begin}| ms |\n| --- |\n| 12 |\n{end}"


def test_rows_can_be_spread_over_columns(script, results: Path):
    (results / "scores.csv").write_text("prior,task,psnr_db\na,cs,31.26\na,cpr,30\nb,cs,29.1\n")
    begin, end = "<!-- rows scores: columns=prior across=task{} -->\n", "<!-- end of rows -->"
    asked = begin.format(" value=psnr_db")
    table = "| prior | cs | cpr |\n| --- | --- | --- |\n| a | 31.3 | 30 |\n| b | 29.1 | - |\n"
    assert script.renewed(asked + end) == asked + table + end
    with pytest.raises(UserError, match="rows scores: no row has 'prior=c'"):
        script.renewed(f"<!-- rows scores: prior=c -->\n{end}")
    (results / "scores.csv").write_text("prior,task,psnr_db\na,cs,31.26\na,cs,30\n")
    with pytest.raises(UserError, match="rows scores: two rows on a, cs"):
        script.renewed(asked + end)


def test_the_numbers_of_a_paper_stand_in_brackets(script, results: Path):
    head = "method,task,set,image,psnr_db,seconds\n"
    lines = ["bm3d,denoise_1,hill,h,30.0,1", "nlm,denoise_1,hill,h,28.0,1"]
    (results / "small.csv").write_text("\n".join([head.strip(), *lines]) + "\n")
    begin = "<!-- table small: table=anderson_denoise published=true -->\n"
    assert script.renewed(begin + END) == (
        f"{begin}| PSNR in dB: Hill (1) | non-local means | BM3D |\n| --- | --- | --- |\n"
        f"| noise 0.1 | 28.00 (27.5) | **30.00** (29.7) |\n{END}"
    )


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("column=ms", "7.57"),
        ("column=ms note=idle digits=4", "3.1416"),
        ("column=ms statistic=max digits=0", "12"),
        ("column=ms statistic=count digits=0", "2"),
        ("column=ms statistic=count below=12 digits=0", "1"),
        ("column=ms statistic=count below=3 digits=0", "0"),
        ("column=ms below=12 digits=2", "3.14"),
        ("column=size_px minus=ms note=busy digits=0", "116"),
    ],
)
def test_a_figure_in_a_sentence_comes_from_results(script, results: Path, asked: str, shown: str):
    (results / "times.csv").write_text("size_px,ms,note\n64,3.14159,idle\n128,12,busy\n")
    text = "it takes <!-- value times: {} -->{}<!-- end --> ms"
    assert script.renewed(text.format(asked, "old")) == text.format(asked, shown)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("column=s", "value times: no column 's' in size_px, ms, note"),
        ("column=ms minus=s", "value times: no column 's' in size_px, ms, note"),
        ("column=ms note=none", "value times: no row has 'column=ms note=none'"),
        ("column=ms below=3", "value times: no row has 'column=ms below=3'"),
        ("column=note", "has values that are no numbers"),
        ("column=ms statistic=sum", "statistic=sum is not mean, median, min, max, count"),
    ],
)
def test_a_figure_that_results_lack_is_refused(script, results: Path, asked: str, text: str):
    (results / "times.csv").write_text("size_px,ms,note\n64,3.14159,idle\n")
    with pytest.raises(UserError, match=text):
        script.renewed(f"<!-- value times: {asked} --><!-- end -->")
