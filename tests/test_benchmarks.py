"""The benchmarks at tiny sizes: what they print can be read, and work is not done twice."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

REPO = Path(__file__).resolve().parents[1]


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPO / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def released_prior() -> ModuleType:
    return load_script("released_prior")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """One random face in CelebA's layout, and settings without a prior."""
    folder = tmp_path / "faces" / "img_align_celeba"
    folder.mkdir(parents=True)
    pixels = torch.randint(256, (32, 32, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.byte().numpy()).save(folder / "000001.jpg")
    (folder.parent / "list_eval_partition.txt").write_text("000001.jpg 2\n")
    return ["--images", str(folder.parent), "--out", str(tmp_path / "out"), "--size", "32",
            "--count", "1", "--tasks", "denoise", "--dip-steps", "2"]  # fmt: skip


def test_fit_step_ends_with_a_line_of_json(capsys):
    load_script("fit_step").main(
        ["--json", "--size", "32", "--steps", "1", "--rounds", "1", "--threads", "1"]
    )
    content = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert content["overhead_plain"] > 0
    assert content["overhead_dip"] > 0
    assert (content["size"], content["threads"], content["prior"]) == (32, 1, "small")


def fake_measure(method, *_):
    """MetaDIP rises by 0.1 dB a step from 20 dB; DIP by 0.05, and its average lags behind."""
    slope = 0.1 if method == "metadip" else 0.05
    raw = [20 + slope * k for k in range(101 if method == "metadip" else 201)]
    return {"psnr_db": [v - (method == "dip") for v in raw], "psnr_raw_db": raw, "s_per_step": 0.5}


def test_finished_fits_are_skipped_and_the_table_adds_up(
    released_prior, arguments, capsys, monkeypatch
):
    monkeypatch.setattr(released_prior, "measure", fake_measure)
    assert released_prior.main(arguments) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    monkeypatch.setattr(released_prior, "measure", lambda *_: pytest.fail("measured twice"))
    assert released_prior.main(arguments) == 0
    second = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert first["results"] == second["results"]
    result = first["results"]["denoise"]
    assert result["metadip at 50 (dB)"] == {"mean": 25.0, "std": 0.0, "n": 1}
    assert result["dip at its best step (dB)"]["mean"] == 30.0
    assert result["dip steps to metadip at 50"] == {"median": 100, "never": 0, "n": 1}


def test_results_of_other_settings_are_not_mixed(released_prior, arguments, capsys, monkeypatch):
    monkeypatch.setattr(released_prior, "measure", fake_measure)
    assert released_prior.main(arguments) == 0
    assert released_prior.main([*arguments, "--seed", "1"]) == 2
    assert "was made with other settings" in capsys.readouterr().err


def test_dip_is_really_measured(released_prior, arguments, capsys):
    assert released_prior.main([*arguments, "--methods", "dip"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]["denoise"]
    assert 0 < result["dip at its best step (dB)"]["mean"] < 40
    assert "metadip at 50 (dB)" not in result
