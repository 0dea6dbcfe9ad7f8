"""A second picture of the scene as the input of a network."""

from pathlib import Path

import pytest
import torch
from deepinv.physics import Denoising
from skimage.data import astronaut
from torch import Tensor

from metadip import config
from metadip.metrics import psnr_db
from metadip.priors import GuideImage
from metadip.report import save_image
from metadip.runs import build_method
from metadip.types import InverseProblem, UserError

NARROW = [
    "method=dip_flash", "task=denoise", "prior.network.channels=[16,16]",
    "prior.network.skip_channels=[4,4]", "optimizer.lr=0.03",
]  # fmt: skip


def scene() -> Tensor:
    pixels = astronaut()[40:104:2, 180:244:2]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255


def problem(y: Tensor) -> InverseProblem:
    return InverseProblem(y, Denoising(), (3, y.shape[2], y.shape[3]), x=scene())


def test_the_input_is_the_picture(tmp_path: Path):
    save_image(tmp_path / "flash.png", scene())
    z = GuideImage(str(tmp_path / "flash.png")).of(problem(scene()))
    torch.testing.assert_close(z, scene(), atol=0.5 / 255, rtol=0)


def test_a_picture_of_another_size_or_none_is_refused(tmp_path: Path):
    save_image(tmp_path / "flash.png", scene()[..., :20])
    with pytest.raises(UserError, match=r"flash\.png is 20x32 px, the image 32x32: a guide must"):
        GuideImage(str(tmp_path / "flash.png")).of(problem(scene()))
    with pytest.raises(UserError, match=r"no\.png"):
        GuideImage(str(tmp_path / "no.png")).of(problem(scene()))


def test_a_flash_photograph_helps_with_one_without(tmp_path: Path):
    """Other light, same edges: the guided fit is nearer to the truth than one from noise."""
    save_image(tmp_path / "flash.png", (0.2 + 0.8 * scene().flip(1)).clamp(0, 1))
    noise = torch.randn(scene().shape, generator=torch.Generator().manual_seed(0))
    y = scene() + 0.15 * noise
    found = {}
    for name, words in (
        ("guided", [f"prior.latent.file={tmp_path / 'flash.png'}"]),
        ("noise", ["prior=skip_unet", "prior.network.channels=[16,16]",
                   "prior.network.skip_channels=[4,4]"]),
    ):  # fmt: skip
        cfg = config.compose("infer", [*NARROW, *words, "fit.steps=60"])
        (result,) = build_method(cfg).reconstruct([problem(y)])
        found[name] = psnr_db(result.x_hat, scene()).item()
    assert found["guided"] > found["noise"] + 1
