"""The benchmark of stopping rules: watched rules do what they do alone, and its table adds up."""

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from metadip import config
from metadip.callbacks import OraclePSNR
from metadip.data import ImageFolder, SampleKey, seed_of
from metadip.runs import build_method
from tests.test_benchmarks import load_script, modules_beside_the_scripts  # noqa: F401

QUICK = [
    "callbacks.es_wmv.window=6", "callbacks.es_wmv.patience=3", "callbacks.es_emv.patience=3",
    "callbacks.es_emv.min_start=5", "callbacks.sv_es.window=6", "callbacks.sv_es.patience=4",
    "callbacks.sv_es.batch_size=3",
]  # fmt: skip


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """One smooth picture, and settings under which every rule stops early."""
    ramp = torch.linspace(0, 255, 32)
    pixels = torch.stack([ramp.expand(32, 32), ramp[:, None].expand(32, 32), ramp.expand(32, 32)])
    (tmp_path / "pictures").mkdir()
    picture = Image.fromarray(pixels.permute(1, 2, 0).byte().contiguous().numpy())
    picture.save(tmp_path / "pictures" / "ramp.png")
    return ["--images", str(tmp_path / "pictures"), "--out", str(tmp_path / "out"),
            "--noises", "impulse", "--levels", "low", "--prior", "skip_unet_small", "--size", "32",
            "--steps", "40", "--set", *QUICK]  # fmt: skip


def test_a_watched_rule_does_what_it_does_alone(arguments, tmp_path, capsys):
    script = load_script("early_stopping")
    assert script.main(arguments) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"][0]
    told = json.loads((tmp_path / "out" / "impulse_low_ramp.json").read_text())["rules"]
    folder = ImageFolder(
        str(tmp_path / "pictures"), split=None, channels=3, crop_px=32, size_px=32, flip=False,
        seed=0,
    )  # fmt: skip
    cfg = config.compose("infer", ["task.noise=impulse", "task.level=low"])
    problem = config.build(cfg.task).measure(folder[SampleKey(0, 0)].x[None], seed=seed_of(0, 0, 0))
    fit = ["method=dip", "prior=skip_unet_small", "objective=l1", "method.steps=40"]
    for rule in script.RULES:
        own = [value for value in QUICK if f".{rule}." in value]
        method = build_method(config.compose("infer", [*fit, f"callbacks={rule}", *own]))
        (result,) = method.reconstruct([problem], hooks=[OraclePSNR()])
        assert result.stop_step is not None
        assert told[rule]["stop_step"] == result.stop_step < 40
        psnr = -10 * (result.x_hat - problem.x).square().mean().log10().item()
        assert told[rule]["psnr_db"] == pytest.approx(psnr, abs=1e-4)
        assert row[f"{rule}_gap"] == pytest.approx(row["best"] - psnr, abs=1e-3)
    assert len({entry["stop_step"] for entry in told.values()}) > 1
    assert Image.open(tmp_path / "out" / "curves.png").format == "PNG"


def test_finished_runs_are_kept_and_other_settings_are_refused(
    arguments, tmp_path, capsys, monkeypatch
):
    script = load_script("early_stopping")
    entry = {
        "noisy_psnr_db": 15.0, "steps": 3, "seconds": 1.0,
        "curves": {"psnr_raw_db": [10.0, 20.0, 18.0], "psnr_db": [10.0, 19.0, 19.5]},
        "rules": {name: {"stopped": True, "stop_step": 2, "chosen_step": 1, "psnr_db": 19.0}
                  for name in script.RULES},
    }  # fmt: skip
    monkeypatch.setattr(script, "measure", lambda *_: entry)
    assert script.main(arguments) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"][0]
    assert (row["best"], row["best_step"], row["last"]) == (20.0, 1, 18.0)
    assert row["sv_es_gap"] == 1.0
    assert row["es_wmv_saved"] == pytest.approx(1 - 2 / 5000)
    with (tmp_path / "out" / "fits.csv").open() as file:
        fits = list(csv.DictReader(file))
    assert [(fit["rule"], float(fit["gap_db"])) for fit in fits] == [(n, 1) for n in script.RULES]
    with (tmp_path / "out" / "means.csv").open() as file:
        (mean,) = csv.DictReader(file)
    assert (mean["count"], mean["best_step"], mean["sv_es_gap_db"]) == ("1", "1", "1.0")
    monkeypatch.setattr(script, "measure", lambda *_: pytest.fail("measured twice"))
    assert script.main(arguments) == 0
    capsys.readouterr()
    assert script.main([*arguments, "--seed", "1"]) == 2
    assert "was made with other settings" in capsys.readouterr().err
