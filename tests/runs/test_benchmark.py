"""The cells of a table: run once, kept, gone on with, run anew when their settings change."""

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from skimage.data import astronaut

import benchmark as script
import infer as infer_script
from metadip import command_line, config
from metadip.callbacks import LatentJitter
from metadip.types import FitState
from tests.full_disk import full_disk

SMALL = "'prior.network.channels=[8]','prior.network.skip_channels=[2]'"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(3):
        crop = astronaut()[40 + 30 * i : 168 + 30 * i : 8, 160:288:8]
        Image.fromarray(crop).save(folder / f"photo {i}.png")
    return folder


def words(photos: Path, out: Path, *more: str, steps: int = 3) -> list[str]:
    settings = f"['method=dip','prior=skip_unet_small',{SMALL},'method.steps=%d']"
    return [
        "table=steps_to_quality", f"images={photos}", f"out={out}", "image_size=16", "count=2",
        "threads=1", "progress=false", "device=cpu", "tasks=[denoise_25]",
        "methods=[dip,single_image]", "table.reference=dip",
        f"table.methods.dip.settings={settings % steps}",
        f"table.methods.single_image.settings={settings % 4}", *more,
    ]  # fmt: skip


def run(*arguments: str) -> int:
    return command_line.main("benchmark", script.run, list(arguments))


def cells(out: Path) -> dict[str, Any]:
    return {f.stem: json.loads(f.read_text()) for f in (out / "cells").glob("*.json")}


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open() as file:
        return list(csv.DictReader(file))


def times(out: Path) -> dict[str, int]:
    return {f.stem: f.stat().st_mtime_ns for f in (out / "cells").glob("*.json")}


def test_each_method_task_and_image_leaves_a_row(photos: Path, tmp_path: Path):
    assert run(*words(photos, tmp_path)) == 0
    found = rows(tmp_path)
    assert [(r["method"], r["image"], r["steps"]) for r in found] == [
        ("dip", "photo_0", "3"), ("dip", "photo_1", "3"),
        ("single_image", "photo_0", "4"), ("single_image", "photo_1", "4"),
    ]  # fmt: skip
    cell = cells(tmp_path)["dip--denoise_25--images--photo_0--0"]
    assert cell["psnr_db"] == float(found[0]["psnr_db"])
    assert len(cell["curves"]["psnr_db"]) == 4
    assert cell["curves"]["psnr_db"][-1] == pytest.approx(cell["psnr_db"], abs=1e-3)
    assert cell["seconds"] > 0
    for name in ("table.md", "summary.csv", "report.html", "config.yaml", "environment.json"):
        assert (tmp_path / name).is_file(), name
    folder = tmp_path / "cells"
    assert (folder / "truth" / "images" / "photo_0.png").is_file()
    assert (folder / "measured" / "denoise_25" / "images" / "photo_0_0.png").is_file()
    assert (folder / "dip--denoise_25--images--photo_0--0.png").is_file()


def test_a_cell_is_what_infer_would_give(photos: Path, tmp_path: Path):
    assert run(*words(photos, tmp_path / "table", "methods=[dip]")) == 0
    setting = ["prior.network.channels=[8]", "prior.network.skip_channels=[2]", "image_size=16"]
    arguments = [
        "method=dip", "prior=skip_unet_small", *setting, "method.steps=3", "task=denoise",
        "task.noise_std=0.0980392", f"input={photos / 'photo 0.png'}", f"out={tmp_path / 'one'}",
        "threads=1", "progress=false", "trainer.accelerator=cpu",
    ]  # fmt: skip
    assert command_line.main("infer", infer_script.run, arguments) == 0
    alone = json.loads((tmp_path / "one" / "metrics.json").read_text())["images"][0]
    cell = cells(tmp_path / "table")["dip--denoise_25--images--photo_0--0"]
    for name in ("psnr_db", "ssim", "nmse"):
        assert cell[name] == pytest.approx(alone[name], rel=1e-5)


def test_finished_cells_stay_and_a_changed_setting_runs_its_own_anew(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(*words(photos, tmp_path)) == 0
    before, results = times(tmp_path), (tmp_path / "results.csv").read_text()
    assert run(*words(photos, tmp_path)) == 0
    assert "4 of 4 cells were finished before and stay" in capsys.readouterr().out
    assert times(tmp_path) == before
    assert (tmp_path / "results.csv").read_text() == results
    assert run(*words(photos, tmp_path, steps=2)) == 0
    assert "2 of 4 cells were finished before and stay" in capsys.readouterr().out
    changed = {name for name, time in times(tmp_path).items() if time != before[name]}
    assert {name.split("--")[0] for name in changed} == {"dip"}
    assert [r["steps"] for r in rows(tmp_path)] == ["2", "2", "4", "4"]


def test_another_image_of_the_same_name_is_run_anew(photos: Path, tmp_path: Path):
    copy = tmp_path / "photos"
    copy.mkdir()
    for file in photos.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert run(*words(copy, tmp_path / "out")) == 0
    before = times(tmp_path / "out")
    (copy / "photo 1.png").write_bytes((photos / "photo 2.png").read_bytes())
    assert run(*words(copy, tmp_path / "out")) == 0
    changed = {n for n, time in times(tmp_path / "out").items() if time != before[n]}
    assert {name.split("--")[3] for name in changed} == {"photo_1"}


def test_an_interrupted_table_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = 0
    as_it_was = LatentJitter.on_reconstruction_start

    def interrupt(self: LatentJitter, state: FitState) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        as_it_was(self, state)

    monkeypatch.setattr(LatentJitter, "on_reconstruction_start", interrupt)
    assert run(*words(photos, tmp_path)) == 130
    assert len(rows(tmp_path)) == 2  # what was finished is told, too
    finished = times(tmp_path)
    monkeypatch.undo()
    assert run(*words(photos, tmp_path)) == 0
    assert len(rows(tmp_path)) == 4
    assert finished.items() <= times(tmp_path).items()


def test_a_full_disk_ends_the_table_and_no_method_is_blamed(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = words(photos, tmp_path, "methods=[dip]")
    assert run(*arguments) == 0
    (tmp_path / "cells" / "dip--denoise_25--images--photo_1--0.json").unlink()
    before = times(tmp_path)
    capsys.readouterr()
    with full_disk(100):
        assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: cannot write ")
    assert printed.err.count("\n") == 1
    assert "is not run on" not in printed.out
    assert times(tmp_path) == before
    assert run(*arguments) == 0
    assert before.items() < times(tmp_path).items()


def test_parts_make_the_whole(photos: Path, tmp_path: Path):
    assert run(*words(photos, tmp_path / "whole")) == 0
    for part in ("1/2", "2/2"):
        assert run(*words(photos, tmp_path / "parts", f"part={part}")) == 0
    whole, parts = (
        [{k: v for k, v in row.items() if "seconds" not in k and "memory" not in k} for row in r]
        for r in (rows(tmp_path / "whole"), rows(tmp_path / "parts"))
    )
    assert whole == parts


def test_a_method_that_does_not_serve_the_task_says_why(photos: Path, tmp_path: Path):
    refusing = "['method=supervised','method.ckpt=no_such_file.safetensors']"
    more = [f"table.methods.single_image.settings={refusing}"]
    assert run(*words(photos, tmp_path, *more)) == 0
    text = (tmp_path / "table.md").read_text()
    assert re.search(r"not run: .*no_such_file.safetensors is neither a file nor a released", text)
    assert {row["method"] for row in rows(tmp_path)} == {"dip"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("methods=[dipp]", "methods=dipp is not in the table, did you mean 'dip'?"),
        ("tasks=[cs]", "tasks=cs is not in the table"),
        ("sets=[faces]", "sets= chooses among the table's image sets, which images= replaces"),
        ("part=3/2", "part=3/2 must be like 1/3"),
        ("part=1", "part=1 must be text"),
        ("device=tpu", "device=tpu must be auto, cpu or cuda"),
        ("count=0", "count=0 must be a whole number of at least 1"),
        ("quick=maybe", "quick=maybe must be true or false"),
        ("images=nowhere", "nowhere"),
        ("table=metadip_denoize", "table=metadip_denoize is unknown, did you mean"),
        ("table.reference=best", "table.reference=best is not one of its methods (dip, "),
    ],
)
def test_bad_settings_end_in_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, message: str
):
    assert run(*words(photos, tmp_path / "out", change)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out" / "cells").exists()


def test_a_missing_folder_ends_in_one_line_if_its_set_is_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folders = ["faces=nowhere", "natural=neither", f"out={tmp_path / 'out'}"]
    assert run("table=metadip_denoise", *folders) == 2
    assert "no folder 'nowhere' for the image set faces" in capsys.readouterr().err
    assert run("table=metadip_denoise", *folders, "sets=[patches]") == 2
    assert "no folder 'neither' for the image set patches" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run("table=metadip_denoise", *folders, "sets=[face]") == 2
    assert "sets=face is not in the table, did you mean 'faces'?" in capsys.readouterr().err


@pytest.mark.parametrize("interval_s", [0.002, 60])  # looks while it lasts, and once at the end
def test_memory_is_watched(interval_s: float, monkeypatch: pytest.MonkeyPatch):
    from metadip.runs import peak_memory

    monkeypatch.setattr(peak_memory, "INTERVAL_S", interval_s)
    with peak_memory.PeakMemory(torch.device("cpu")) as memory:
        kept = torch.ones(30_000_000)  # 120 MB
        for _ in range(10):
            kept += 1
        if interval_s < 1:
            del kept
    assert memory.megabytes is None or 80 < memory.megabytes < 400


@pytest.mark.parametrize(
    "table",
    [
        "photo_whole",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in sorted(f.stem for f in (config.conf_dir() / "table").glob("*.yaml"))
            if name != "photo_whole"
        ),
    ],
)
def test_every_table_has_a_quick_form(table: str, tmp_path: Path):
    """All its methods, but one whose weights are not at hand, on one small built-in picture."""
    arguments = [f"table={table}", "quick=true", f"out={tmp_path}", "threads=1", "progress=false"]
    assert run(*arguments) == 0
    cfg = config.compose("benchmark", [f"table={table}"]).table
    expected = {(m, t) for m, row in cfg.methods.items() for t in row.get("only_tasks", cfg.tasks)}
    found = {(row["method"], row["task"]) for row in rows(tmp_path)}
    unserved = {("supervised", task) for task in cfg.tasks if task.startswith("cpr")}
    left_out = [m for m, row in cfg.methods.items() if "outputs/priors" in " ".join(row.settings)]
    if table == "blind_deblur":  # a grid larger than what the built-in picture shows
        left_out += ["double_dip_x2", "double_dip_x4", "selfdeblur_x2"]
    unserved |= {(method, task) for method in left_out for task in cfg.tasks}
    assert expected - found <= unserved | {("drunet", task) for task in cfg.tasks}
    assert all(math.isfinite(float(row["psnr_db"])) for row in rows(tmp_path))
    assert all(int(row["steps"]) <= 20 for row in rows(tmp_path))
    text = (tmp_path / "table.md").read_text()
    assert "quick: few steps" in text
    assert "## Claims" not in text


def test_cells_of_other_settings_are_not_shown(photos: Path, tmp_path: Path):
    assert run(*words(photos, tmp_path, "methods=[dip]")) == 0
    assert run(*words(photos, tmp_path, "methods=[single_image]", "image_size=20")) == 0
    assert {row["method"] for row in rows(tmp_path)} == {"single_image"}
    assert run(*words(photos, tmp_path, "methods=[]")) == 0  # runs nothing, shows what is there
    assert [(row["method"], row["image"]) for row in rows(tmp_path)] == [
        ("dip", "photo_0"),
        ("dip", "photo_1"),
    ]


def test_images_of_like_names_are_told_apart(photos: Path, tmp_path: Path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, source in (("a b", "photo 0"), ("a_b", "photo 1")):
        (folder / f"{name}.png").write_bytes((photos / f"{source}.png").read_bytes())
    assert run(*words(folder, tmp_path / "out", "methods=[dip]")) == 0
    found = rows(tmp_path / "out")
    assert [row["image"] for row in found] == ["a_b", "a_b.1"]
    assert found[0]["psnr_db"] != found[1]["psnr_db"]


def test_results_among_the_images_are_refused(photos: Path, capsys: pytest.CaptureFixture[str]):
    assert run(*words(photos, photos / "results")) == 2
    assert "lies inside images=" in capsys.readouterr().err
