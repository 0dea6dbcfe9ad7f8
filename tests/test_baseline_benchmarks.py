"""The benchmarks of baselines at tiny sizes: tables, files that are used again, the preset."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from metadip.report import save_image
from tests.test_benchmarks import load_script


@pytest.fixture
def faces(tmp_path: Path) -> str:
    folder = tmp_path / "faces" / "img_align_celeba"
    folder.mkdir(parents=True)
    pixels = torch.randint(256, (16, 16, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.byte().numpy()).save(folder / "000001.jpg")
    (folder.parent / "list_eval_partition.txt").write_text("000001.jpg 1\n")
    return str(folder.parent)


def test_the_grid_writes_the_best_point(faces: str, tmp_path: Path, capsys):
    arguments = [
        "--images", faces, "--task", "cs", "--denoiser", "tv", "--size", "16",
        "--out", str(tmp_path / "out"), "--preset", str(tmp_path / "cs_tv.yaml"), "--count", "1",
        "--strengths", "5", "15", "--penalties", "0.2", "--iterations", "1", "4",
    ]  # fmt: skip
    script = load_script("pnp_grid")
    assert script.main(arguments) == 0
    first = capsys.readouterr().out
    assert first.count("\n|") == 3
    preset = OmegaConf.load(tmp_path / "cs_tv.yaml")
    assert set(preset) == {"strength", "penalty", "iterations"}
    entries = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.json")}
    assert len(entries) == 4
    assert script.main(arguments) == 0
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.json")} == entries
    assert capsys.readouterr().out == first
    assert script.main([*arguments, "--seed", "1"]) == 2
    assert "was made with other settings: choose another --out" in capsys.readouterr().err


def test_the_grid_of_refined_is_printed_alone(faces: str, tmp_path: Path, capsys):
    preset = tmp_path / "no.yaml"
    arguments = [
        "--images", faces, "--task", "cs", "--size", "16", "--out", str(tmp_path / "out"),
        "--count", "1", "--method", "refined", "--strengths", "1", "2", "--penalties", "0.2",
        "--iterations", "1", "--preset", str(preset), "--settings", "method.first.steps=1",
    ]  # fmt: skip
    assert load_script("pnp_grid").main(arguments) == 0
    assert capsys.readouterr().out.count("\n|") == 3
    assert not preset.exists()
    (entry, other) = (json.loads(p.read_text()) for p in sorted((tmp_path / "out").glob("*.json")))
    assert "method.strength=0.00392156862745098" in entry["settings"]["infer"]
    assert entry["psnr_db"] != other["psnr_db"]


def test_known_numbers_stand_beside_ours(tmp_path: Path, capsys):
    for number in ("01", "12"):
        save_image(tmp_path / f"set12_{number}.png", torch.rand(1, 1, 16, 16))
    arguments = ["--set12", str(tmp_path), "--out", str(tmp_path / "out"), "--methods", "tv"]
    script = load_script("known_numbers")
    assert sum(script.PUBLISHED_BM3D_DB.values()) / 12 == pytest.approx(29.97, abs=0.005)
    assert script.main(arguments) == 0
    told = capsys.readouterr().out
    assert [line.split()[1] for line in told.splitlines()[2:]] == ["C.man", "Couple", "mean"]
    assert "29.45" in told
    assert len(list((tmp_path / "out").glob("tv_*.json"))) == 2
    (tmp_path / "empty").mkdir()
    save_image(tmp_path / "empty" / "photo.png", torch.rand(1, 1, 16, 16))
    arguments[1] = str(tmp_path / "empty")
    assert script.main(arguments) == 2
    assert "has no images whose names end in 01 to 12" in capsys.readouterr().err
