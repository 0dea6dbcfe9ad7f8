"""The scripts behind docs/stopping.md and docs/deepinv.md, and of starts, at tiny sizes."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.test_benchmarks import load_script


@pytest.fixture(autouse=True)
def _beside_their_modules(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(repo / "benchmarks")


def test_rules_are_timed_beside_a_step_of_dip(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "cost.csv"
    arguments = ["--sizes", "32", "--rules", "es_wmv", "es_emv", "--steps", "2", "--out", str(out)]
    rows = load_script("stopping_cost").main(arguments)
    assert [(row["rule"], row["size_px"]) for row in rows] == [("es_wmv", 32), ("es_emv", 32)]
    assert all(0 < row["rule_ms"] < row["dip_ms"] for row in rows)
    assert len(out.read_text().splitlines()) == 3
    assert "| es_wmv |" in capsys.readouterr().out


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    folder = tmp_path / "faces" / "img_align_celeba"
    folder.mkdir(parents=True)
    pixels = torch.randint(256, (2, 64, 64, 3), generator=torch.Generator().manual_seed(0))
    for i, image in enumerate(pixels.byte().numpy(), 1):
        Image.fromarray(image).save(folder / f"{i:06d}.jpg")
    (folder.parent / "list_eval_partition.txt").write_text("000001.jpg 2\n000002.jpg 2\n")
    return folder.parent


def test_each_method_of_the_page_is_scored_once(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    script = load_script("deepinv_page")
    made: list[str] = []

    def back_projection() -> Any:
        made.append("method")
        return lambda y, physics: physics.A_adjoint(y)

    monkeypatch.setattr(script, "METHODS", {"own": back_projection, "own_pnp": back_projection})
    out = tmp_path / "page.csv"
    arguments = ["--faces", str(faces), "--out", str(out), "--count", "2"]
    script.main(arguments)
    rows = list(csv.DictReader(out.open()))
    expected = [("own", "denoise_25"), ("own", "inpaint_50"), ("own_pnp", "inpaint_50")]
    assert [(row["method"], row["problem"]) for row in rows] == expected
    assert float(rows[0]["psnr_db"]) == pytest.approx(20.2, abs=0.2)  # 25 of 255
    assert len(made) == 6  # anew for each image
    script.main(arguments)
    assert len(made) == 6
    assert len(script.jobs("scale")) == 24


def test_what_two_unknowns_cost_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    script = load_script("two_unknowns")
    monkeypatch.setattr(script, "CHANNELS", "[4]")
    monkeypatch.setattr(script, "SKIPS", "[2]")
    monkeypatch.setattr(script, "KERNELS_PX", (3,))
    script.main(["--size", "24", "--steps", "1", "--rounds", "1", "--out", str(tmp_path)])
    told = capsys.readouterr().out
    assert "| kernel_px |" in told
    assert "| phase retrieval, double DIP " in told
    rows = list(csv.DictReader((tmp_path / "two_unknowns_step.csv").open()))
    assert [float(row["ratio"]) != 0 for row in rows] == [True] * 3
    assert len((tmp_path / "two_unknowns_convolution.csv").read_text().splitlines()) == 2


def test_the_first_screen_shows_what_the_commands_of_readme_reach(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    script = load_script("first_screen")
    readme = (repo / "README.md").read_text("utf-8")
    assert [f"python {c}" in readme for c in script.COMMANDS.values()] == [True, True]

    def made_up_run(words: list[str], *, cwd: str, check: bool) -> None:
        name = words[-1].removeprefix("out=")
        assert check
        assert (Path(cwd) / f"{name}.png").is_file()
        found = {"psnr_db": 30.12345, "ssim": 0.9, "seconds": 1.0, "steps": 5}
        (Path(cwd) / name).mkdir()
        metrics = json.dumps({"images": [found], "task": words[2].removeprefix("task=")})
        (Path(cwd) / name / "metrics.json").write_text(metrics)

    monkeypatch.setattr(script.subprocess, "run", made_up_run)
    monkeypatch.setattr(script, "record", lambda path, command, note: None)
    out = tmp_path / "first_screen.csv"
    script.main(["--out", str(out)])
    rows = list(csv.DictReader(out.open()))
    assert [(row["photograph"], row["psnr_db"]) for row in rows] == [
        ("coffee", "30.123"),
        ("chelsea", "30.123"),
    ]
    assert rows[1]["command"] == "python infer.py task=cpr input=chelsea.png image_size=256"


def test_starts_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script = load_script("start_up")
    commands = {"help": ("-c", "pass"), "mistake": ("-c", "raise SystemExit(2)")}
    monkeypatch.setattr(script, "COMMANDS", commands)
    rows = script.main(["--rounds", "1", "--only", *commands, "--out", str(tmp_path / "s.csv")])
    assert [row["name"] for row in rows] == list(commands)
    assert all(0 < row["cpu_s"] < 5 for row in rows)
    assert (tmp_path / "s.csv").read_text().startswith("name,command,cpu_s\nhelp,python -c pass,")
    commands["help"] = ("-c", "1 / 0")
    with pytest.raises(SystemExit, match=r"^help: exit 1: "):
        script.main(["--quick"])
