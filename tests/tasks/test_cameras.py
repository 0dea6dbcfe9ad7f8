"""Mosaics, JPEG files and the noise of a camera: what is seen, files, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from metadip.metrics import psnr_db
from metadip.physics.camera import CameraNoise
from metadip.physics.jpeg import jpeg_file
from metadip.physics.noise_level import expected_noise_energy
from metadip.report.figures import save_image
from metadip.tasks import DemosaickingTask, JPEGTask, RealNoiseTask, load_measurement
from metadip.tasks.demosaicking import PATTERNS
from metadip.types import UserError


def picture(*shape: int) -> Tensor:
    return torch.rand((1, *shape), generator=torch.Generator().manual_seed(0))


def smooth() -> Tensor:
    ramp = torch.linspace(0.1, 0.9, 64)
    first = 0.5 + 0.4 * torch.sin(9 * ramp[:, None] * ramp)
    return torch.stack([first, first.T.flip(0), 0.5 * (first + ramp)])[None]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_colours_of_a_mosaic(pattern: str, tmp_path: Path) -> None:
    task = DemosaickingTask(pattern, noise_std=0.0)
    x = picture(3, 5, 6) + 0.1
    problem = task.measure(x, seed=0)
    seen = problem.y[0, :, :2, :2].flatten(1).ne(0).int().argmax(0)
    assert "".join("rgb"[i] for i in seen) == pattern
    assert (problem.y != 0).sum() == 30
    assert problem.scale == pytest.approx(3**0.5)
    flat = problem.y.sum(1, keepdim=True)
    torch.save({"y": flat[0]}, tmp_path / "raw.pt")
    torch.testing.assert_close(load_measurement(tmp_path / "raw.pt", task).y, problem.y)


def test_a_mosaic_of_a_user(tmp_path: Path) -> None:
    pixels = (65535 * picture(1, 6, 8)[0, 0]).numpy().astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "raw.png")
    task = DemosaickingTask("rggb", noise_std=0.01)
    problem = load_measurement(tmp_path / "raw.png", task)
    assert problem.image_shape == (3, 6, 8)
    assert problem.y[0, 0, 0, 0].item() == pytest.approx(pixels[0, 0] / 65535)
    torch.save({"y": picture(2, 6, 8)[0]}, tmp_path / "raw.pt")
    with pytest.raises(UserError, match="y must be a mosaic of 1 or 3 channels, got 2"):
        load_measurement(tmp_path / "raw.pt", task)
    torch.save({"y": picture(1, 6, 8)[0], "pattern": "rgb"}, tmp_path / "raw.pt")
    with pytest.raises(UserError, match="pattern is 'rgb'; choose from rggb, bggr"):
        load_measurement(tmp_path / "raw.pt", task)
    with pytest.raises(UserError, match=r"task\.pattern=rgbg is unknown; did you mean"):
        DemosaickingTask("rgbg", noise_std=0.0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 50, 90])
def test_the_operator_is_close_to_the_codec(channels: int, quality: int) -> None:
    x = smooth()[:, :channels]
    problem = JPEGTask(quality, codec=True).measure(x, seed=0)
    assert problem.y.shape == x.shape
    torch.testing.assert_close(problem.y, jpeg_file(x, quality))
    lost, modelled = psnr_db(problem.y, x), psnr_db(problem.y, problem.physics.A(x))
    assert modelled > lost + 1
    assert modelled > 35


def test_without_the_codec_a_fit_explains_the_file() -> None:
    problem = JPEGTask(30, codec=False).measure(smooth(), seed=0)
    torch.testing.assert_close(problem.y, jpeg_file(smooth(), 30))
    assert torch.equal(problem.physics.A(smooth()), smooth())
    with pytest.raises(UserError, match=r"task\.codec='no' must be true or false"):
        JPEGTask(30, codec="no")  # type: ignore[arg-type]


def test_quality_matters_and_is_drawn() -> None:
    x = smooth()
    scores = [psnr_db(JPEGTask(q, codec=False).measure(x, seed=0).y, x).item() for q in (5, 20, 60)]
    assert scores == sorted(scores)
    task = JPEGTask([10, 90], codec=True)
    drawn = {round(task.measure(x, seed=s).physics.quality.item()) for s in range(12)}
    assert len(drawn) > 6
    assert 10 <= min(drawn) < max(drawn) <= 90


def test_a_jpeg_file_is_a_measurement(tmp_path: Path) -> None:
    pixels = (255 * smooth()[0]).byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "snail.jpg", quality=15)
    problem = load_measurement(tmp_path / "snail.jpg", JPEGTask(15, codec=True))
    assert problem.physics.quality.item() == 15
    with pytest.raises(UserError, match=r"task\.quality=\[10, 20\] must be one number for a meas"):
        load_measurement(tmp_path / "snail.jpg", JPEGTask([10, 20], codec=True))
    for quality in (0, 101, 20.5, [30, 20], "high", True):
        with pytest.raises(UserError, match=r"task\.quality="):
            JPEGTask(quality, codec=False)  # type: ignore[arg-type]


def test_noise_of_a_camera_depends_on_the_light() -> None:
    levels = torch.tensor([0.2, 0.5, 0.8]).repeat_interleave(4000).reshape(1, 1, 3, 4000)
    y = RealNoiseTask(0.01, read_std=0.01).measure(levels, seed=0).y
    light = y[0, 0] ** 2.2
    expected = (0.01 * levels[0, 0, :, 0] ** 2.2 + 0.01**2).sqrt()
    torch.testing.assert_close(light.std(1)[1:], expected[1:], rtol=0.06, atol=0)
    torch.testing.assert_close(y[0, 0].median(1).values, levels[0, 0, :, 0], rtol=0.02, atol=0)
    assert (255 * y - (255 * y).round()).abs().max() < 1e-4
    colour = RealNoiseTask(0.01, read_std=0.01).measure(levels.expand(-1, 3, -1, -1), seed=0).y
    spreads = (colour[0, :, 1] ** 2.2).std(1)
    assert spreads[0] > spreads[2] > spreads[1]  # in the order of the gains


def test_noise_of_a_camera_is_unknown_and_seeded() -> None:
    x = picture(3, 8, 8)
    first, again, other = (
        RealNoiseTask([0.01, 0.1], read_std=0.0).measure(x, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.y, other.y)
    noise = first.physics.noise_model
    assert noise.shot != other.physics.noise_model.shot
    assert 0.01 <= noise.shot <= 0.1
    assert isinstance(noise, CameraNoise)
    assert noise(x).shape == x.shape
    assert expected_noise_energy(first) is None
    assert RealNoiseTask(1e-6, read_std=0.0).measure(x, seed=0).y.isfinite().all()


def test_a_noisy_photograph_is_a_measurement(tmp_path: Path) -> None:
    save_image(tmp_path / "night.png", picture(3, 8, 8))
    problem = load_measurement(tmp_path / "night.png", RealNoiseTask(0.02, read_std=0.01))
    assert problem.image_shape == (3, 8, 8)
    assert isinstance(problem.physics.noise_model, CameraNoise)
    torch.save({"y": picture(3, 8, 8)[0], "shot": -1.0}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="shot must be a finite number of at least 0, got -1"):
        load_measurement(tmp_path / "a.pt", RealNoiseTask(0.02, read_std=0.01))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"shot": 0}, r"task\.shot=0 must be a number above 0 and at most 1"),
        ({"read_std": -1}, r"task\.read_std=-1 must be a number from 0 to 1"),
        ({"read_std": None}, r"task\.read_std=None must be"),
    ],
)
def test_bad_levels(changes: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {"shot": 0.01, "read_std": 0.01} | changes
    with pytest.raises(UserError, match=text):
        RealNoiseTask(**arguments)
