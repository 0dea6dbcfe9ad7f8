"""Measurements, truths and own operators through ``infer.py``."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from metadip import config, runs
from metadip.report import nmse, psnr_db, save_image
from metadip.tasks import DenoisingTask, save_measurement
from metadip.types import UserError
from tests.tiny import infer, save_tiny_prior

DIP = [
    "method=dip",
    "prior=skip_unet_small",
    "prior.network.channels=[8]",
    "prior.network.skip_channels=[4]",
]
RADON = '''
from deepinv.physics import Tomography


def radon(content):
    """Project along the angles, in degrees, that the scan was taken at."""
    return Tomography(angles=content["angles"], img_width=20, circle=False, normalize=True)
'''
MODULE = '''
from collections.abc import Mapping
from typing import Any

import torch
from deepinv.physics import Inpainting


def scanner(content: Mapping[str, Any]) -> Inpainting:
    """Keep the lines that the scan lists, at the scanner's gain."""
    mask = torch.zeros(3, 20, 20)
    mask[:, content["lines"]] = float(content["gain"])
    return Inpainting((3, 20, 20), mask=mask)
'''


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_prior(tmp_path_factory.mktemp("prior") / "prior.safetensors")


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    pixels = np.ascontiguousarray(astronaut()[40:140:5, 180:280:5])
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def test_a_truth_gives_scores_and_changes_nothing(prior: Path, x: torch.Tensor, tmp_path: Path):
    problem = DenoisingTask(0.1, clip=False, noise="speckle", level="low").measure(x, seed=3)
    save_image(tmp_path / "noisy.png", problem.y)
    save_image(tmp_path / "clean.png", x)
    rule = ["callbacks=es_wmv", "callbacks.es_wmv.window=2", "fit.steps=8"]
    arguments = [f"ckpt={prior}", f"measurement={tmp_path / 'noisy.png'}", *rule]
    blind = infer(*arguments, f"out={tmp_path / 'a'}")["images"][0]
    told = infer(*arguments, f"truth={tmp_path / 'clean.png'}", f"out={tmp_path / 'b'}")
    entry = told["images"][0]
    assert blind["psnr_db"] is blind["ssim"] is blind["nmse"] is None
    assert "best_step" not in blind
    results = [tmp_path / run / "reconstruction.png" for run in "ab"]
    assert results[0].read_bytes() == results[1].read_bytes()
    x_hat = torch.from_numpy(np.array(Image.open(results[1]))).permute(2, 0, 1)[None] / 255
    assert entry["psnr_db"] == pytest.approx(psnr_db(x_hat, x).item(), abs=0.05)
    assert entry["nmse"] == pytest.approx(nmse(x_hat, x).item(), rel=0.02)
    curve = json.loads((tmp_path / "b" / "curves.json").read_text("utf-8"))["psnr_db"]
    assert entry["best_psnr_db"] == pytest.approx(max(curve))
    assert curve[entry["best_step"]] == max(curve)


def test_a_folder_of_mixed_measurements_and_channels(prior: Path, x: torch.Tensor, tmp_path: Path):
    folder, truth = tmp_path / "y", tmp_path / "x"
    folder.mkdir()
    truth.mkdir()
    task = DenoisingTask(0.1, clip=True)
    save_image(folder / "colour.png", task.measure(x, seed=0).y)
    save_image(folder / "grey.png", task.measure(x[:, :1], seed=1).y)
    save_measurement(folder / "two.pt", task.measure(x[:, :2], seed=2))
    four = torch.cat([x, x[:, :1]], dim=1)
    save_measurement(folder / "four.npz", task.measure(four, seed=3))
    save_image(truth / "colour.png", x)
    save_image(truth / "grey.png", x[:, :1])
    torch.save({"x": x[:, :2]}, truth / "two.pt")
    np.savez(truth / "four.npz", x=four.numpy())
    arguments = [f"measurement={folder}", f"truth={truth}", f"out={tmp_path / 'out'}"]
    metrics = infer(f"ckpt={prior}", *arguments)
    assert [entry["name"] for entry in metrics["images"]] == ["colour", "four", "grey", "two"]
    assert all(entry["psnr_db"] > 5 for entry in metrics["images"])
    with Image.open(tmp_path / "out" / "grey" / "reconstruction.png") as picture:
        assert picture.mode == "L"


def test_an_own_operator(
    prior: Path, x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is brought to the scale of learned step sizes: its gain does not change the result."""
    (tmp_path / "lab4713").mkdir()
    (tmp_path / "lab4713" / "scanner.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path.parent))  # restores sys.path afterwards
    monkeypatch.chdir(tmp_path)
    lines = torch.tensor([0, 1, 3, 4, 7, 8, 9, 12, 13, 15, 17, 18, 19])
    for name, gain in (("weak", 0.2), ("strong", 50.0)):
        y = torch.zeros(3, 20, 20)
        y[:, lines] = gain * x[0, :, lines]
        content = {"y": y, "lines": lines, "gain": gain, "x": x[0]}
        torch.save(content, tmp_path / "scan.pt")
        settings = ["physics=lab4713.scanner:scanner", "measurement=scan.pt", "fit.steps=10"]
        metrics = infer(f"ckpt={prior}", *settings, f"out={tmp_path / name}")
        assert metrics["task"] == "lab4713.scanner:scanner"
    weak, strong = (
        json.loads((tmp_path / name / "curves.json").read_text("utf-8"))["psnr_db"]
        for name in ("weak", "strong")
    )
    assert weak == pytest.approx(strong, abs=0.02)
    assert abs(weak[-1] - weak[0]) > 0.1


def test_a_scan_as_the_documentation_shows_it(
    x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from deepinv.physics import Tomography

    (tmp_path / "lab4714").mkdir()
    (tmp_path / "lab4714" / "operators.py").write_text(RADON)
    monkeypatch.syspath_prepend(str(tmp_path.parent))  # restores sys.path afterwards
    monkeypatch.chdir(tmp_path)
    angles = torch.linspace(0, 180, 25)[:-1]
    y = Tomography(angles=angles, img_width=20, circle=False, normalize=True).A(x)
    torch.save({"y": y[0], "angles": angles, "image_shape": (3, 20, 20)}, tmp_path / "scan.pt")
    save_image(tmp_path / "truth.png", x)
    settings = ["physics=lab4714.operators:radon", "measurement=scan.pt", "truth=truth.png"]
    infer(*DIP, *settings, "fit.steps=20", f"out={tmp_path / 'out'}")
    curve = json.loads((tmp_path / "out" / "curves.json").read_text("utf-8"))["psnr_db"]
    assert curve[-1] > curve[0] + 2


def test_trust_is_for_learned_priors(x: torch.Tensor, tmp_path: Path):
    save_image(tmp_path / "y.png", x)
    arguments = [f"measurement={tmp_path / 'y.png'}", f"out={tmp_path / 'out'}", "trust=true"]
    with pytest.raises(UserError, match=r"^trust=True is for learned priors, not for method=tv: "):
        runs.infer(config.compose("infer", ["method=tv", *arguments]))
    assert not (tmp_path / "out").exists()


def test_an_animation(prior: Path, x: torch.Tensor, tmp_path: Path):
    save_image(tmp_path / "y.png", x)
    infer(f"ckpt={prior}", f"measurement={tmp_path / 'y.png'}", f"out={tmp_path}", "gif=true")
    with Image.open(tmp_path / "fit.gif") as animation:
        animation.seek(1)  # raises EOFError where there is one frame only


def test_impulse_noise_and_its_loss(x: torch.Tensor, tmp_path: Path):
    save_image(tmp_path / "x.png", x)
    noisy = ["task.noise=impulse", "task.level=low", "objective=l1"]
    arguments = [f"input={tmp_path / 'x.png'}", f"out={tmp_path / 'out'}"]
    entry = infer(*DIP, *noisy, *arguments, "fit.steps=20")["images"][0]
    curves = json.loads((tmp_path / "out" / "curves.json").read_text("utf-8"))
    assert curves["loss"][-1] < curves["loss"][0]
    assert entry["psnr_db"] > curves["psnr_db"][0]
