"""Denoisers: what they remove and keep, and what they refuse."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from skimage.data import astronaut
from torch import Tensor

from metadip.methods import (
    BM3D,
    NLM,
    TV,
    Denoiser,
    DenoiserReconstructor,
    DRUNet,
    Wavelet,
)
from metadip.methods import denoisers as module
from metadip.metrics import psnr_db
from metadip.tasks import DenoisingTask
from metadip.types import UserError

NOISE_STD = 25 / 255
MAKE: dict[str, Callable[[], Denoiser]] = {
    "bm3d": lambda: BM3D("torch"),
    "nlm": lambda: NLM(patch_px=5, distance_px=6, h=0.6),
    "tv": lambda: TV(0.75),
    "wavelet": lambda: Wavelet(2.5),
}


def picture(height: int, width: int) -> Tensor:
    pixels = astronaut()[40 : 40 + 2 * height : 2, 180 : 180 + 2 * width : 2]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255


def noise(x: Tensor, *, seed: int = 0) -> Tensor:
    return NOISE_STD * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize(("channels", "size"), [(3, (37, 44)), (1, (40, 33)), (2, (16, 17))])
def test_noise_is_reduced_and_shape_kept(name: str, channels: int, size: tuple[int, int]):
    x = picture(*size)[:, :channels]
    y = x + noise(x)
    x_hat = MAKE[name]()(y, NOISE_STD)
    assert (x_hat.shape, x_hat.dtype) == (y.shape, y.dtype)
    assert psnr_db(x_hat, x).item() > psnr_db(y, x).item() + 2.5


@pytest.mark.parametrize("name", MAKE)
def test_images_of_a_batch_are_independent(name: str):
    x = picture(20, 24)
    y = torch.cat([x + noise(x), 0.2 * x.flip(-1) + noise(x, seed=1)]).double()
    denoiser = MAKE[name]()
    x_hat = denoiser(y, NOISE_STD)
    assert x_hat.dtype == torch.float64
    alone = torch.cat([denoiser(image, NOISE_STD) for image in y.split(1)])
    torch.testing.assert_close(x_hat, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", MAKE)
def test_more_noise_is_smoothed_more(name: str):
    y = picture(24, 24) + noise(picture(24, 24))
    weak, strong = (MAKE[name]()(y, std) for std in (0.01, 0.2))
    assert (strong - y).norm() > 2 * (weak - y).norm()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"patch_px": 0, "distance_px": 6, "h": 0.6}, "patch_px >= 1, distance_px >= 1 and h > 0"),
        ({"patch_px": 5, "distance_px": 0, "h": 0.6}, "got 5, 0 and 0.6"),
        ({"patch_px": 5, "distance_px": 6, "h": 0.0}, "got 5, 6 and 0.0"),
    ],
)
def test_nlm_refuses(arguments: dict[str, float], text: str):
    with pytest.raises(ValueError, match=text):
        NLM(**arguments)  # type: ignore[arg-type]


def test_bad_weights_and_thresholds_are_refused():
    with pytest.raises(ValueError, match="weight must be above 0, got 0"):
        TV(0)
    with pytest.raises(ValueError, match="threshold must be above 0, got -1"):
        Wavelet(-1)


def test_bm3d_refuses():
    with pytest.raises(UserError, match=r"implementation=c must be one of torch, pypi"):
        BM3D("c")
    with pytest.raises(UserError, match="needs images of at least 8 px, got 7x9"):
        BM3D("torch")(torch.rand(1, 1, 7, 9), 0.1)


def test_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"denoiser=bm3d needs the package ptwt: pip install 'me"):
        BM3D("torch")
    with pytest.raises(UserError, match="denoiser=wavelet needs the package ptwt"):
        Wavelet(2.5)
    with pytest.raises(UserError, match=r"needs the package bm3d \(non-commercial use only\)"):
        BM3D("pypi")


@pytest.fixture(scope="module")
def grey_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from deepinv import models

    path = tmp_path_factory.mktemp("drunet") / "grey.pth"
    with torch.device("meta"):
        empty = models.DRUNet(1, 1, pretrained=None).state_dict()
    torch.save({name: 0.01 * torch.randn(tensor.shape) for name, tensor in empty.items()}, path)
    return path


def test_drunet_reads_weights(grey_weights: Path):
    from deepinv import models

    denoiser, y = DRUNet(str(grey_weights), channels=1), torch.rand(2, 1, 20, 33)
    network = models.DRUNet(in_channels=1, out_channels=1, pretrained=str(grey_weights))
    with torch.no_grad():
        assert torch.equal(denoiser(y, 0.1), network(y, 0.1))
    assert denoiser(y.double(), 0.1).dtype == torch.float64
    with pytest.raises(UserError, match=r"for 1 channels, an image has 3: set denoiser.channels"):
        denoiser(torch.rand(1, 3, 16, 16), 0.1)
    with pytest.raises(UserError, match=r"grey.pth are not those of a DRUNet for 3 channels"):
        DRUNet(str(grey_weights), channels=3)


class Mischief:
    """Pickled, it would make a file when read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_drunet_runs_no_code_of_a_file(tmp_path: Path):
    torch.save({"weights": Mischief(tmp_path / "made")}, tmp_path / "bad.pth")
    with pytest.raises(UserError, match=r"bad.pth cannot be read: .* nor holding code"):
        DRUNet(str(tmp_path / "bad.pth"), channels=3)
    assert not (tmp_path / "made").exists()


def test_drunet_refuses(tmp_path: Path):
    with pytest.raises(UserError, match=r"denoiser.channels=2 must be 3 \(colour\) or 1 \(grey\)"):
        DRUNet(None, channels=2)
    with pytest.raises(UserError, match=r"needs weights: give denoiser.weights=download .*color"):
        DRUNet(None, channels=3)
    with pytest.raises(UserError, match=r"nothing.pth cannot be read"):
        DRUNet(str(tmp_path / "nothing.pth"), channels=3)


def test_a_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch):
    def fail(url: str, **options: object) -> None:
        assert options["weights_only"] is True
        raise OSError("no route\nto host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(UserError, match=r"download failed \(no route to host\): fetch https://hug"):
        DRUNet("download", channels=1)


@pytest.mark.parametrize("name", ["bm3d", "tv", "wavelet"])
def test_colours_are_denoised_together(name: str):
    """In opponent colours, which beats red, green and blue one by one."""
    x = picture(32, 32)
    y = x + noise(x)
    denoiser = MAKE[name]()
    alone = torch.cat([denoiser(channel, NOISE_STD) for channel in y.split(1, dim=1)], dim=1)
    gain = psnr_db(denoiser(y, NOISE_STD), x) - psnr_db(alone, x)
    assert gain.item() > 0.3


def test_opponent_colours_keep_energy_and_grey():
    seen = []

    def keep(image: Tensor) -> Tensor:
        seen.append(image)
        return image

    y = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(module.in_opponent_colours(y, keep), y)
    torch.testing.assert_close(seen[0].norm(), y.norm())
    module.in_opponent_colours(y[:, :1].expand(-1, 3, -1, -1), keep)
    assert seen[1][:, 1:].abs().max() < 1e-6


def test_wavelets_need_a_picture_that_they_fit_into():
    with pytest.raises(UserError, match="denoiser=wavelet needs images of at least 15 px, got 10x"):
        Wavelet(2.8)(torch.rand(1, 3, 10, 20), 0.1)


def test_a_denoiser_of_other_channels_is_refused():
    class Coloured:
        channels = 3

        def __call__(self, y: Tensor, noise_std: float, /) -> Tensor:
            return y

    method = DenoiserReconstructor(Coloured())
    grey = DenoisingTask(0.1, clip=False).measure(torch.rand(1, 1, 16, 16), seed=0)
    with pytest.raises(UserError, match="weights for images of 3 channels, not 1: set denoiser"):
        method.check(grey, task="task=denoise")
