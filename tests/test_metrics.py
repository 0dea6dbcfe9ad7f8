from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from metadip import metrics
from metadip.metrics import _lpips_metric
from metadip.report import lpips, nmse, psnr_db, reconstruction_metrics, ssim


def pair(batch: int = 4, channels: int = 3, h: int = 20, w: int = 31) -> list[torch.Tensor]:
    """Return smooth images and noisy ones, some values outside [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, channels, 4, 5, generator=generator)
    x = torch.nn.functional.interpolate(coarse, (h, w), mode="bilinear")
    noise = torch.randn(x.shape, generator=generator)
    return [x + torch.linspace(0.02, 0.3, batch).view(-1, 1, 1, 1) * noise, x]


def test_psnr_against_scikit_image():
    x_hat, x = pair()
    values = psnr_db(x_hat, x)
    assert values.shape == (4,)
    for i in range(4):
        expected = peak_signal_noise_ratio(x[i].numpy(), x_hat[i].numpy(), data_range=1)
        assert values[i].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_ssim_against_scikit_image(channels: int, batch: int):
    """scikit-image drops a border of 5 px from its mean, so it is given reflected ones."""
    x_hat, x = pair(batch, channels)
    values = ssim(x_hat, x)
    assert values.shape == (batch,)
    for i in range(batch):
        padded = [
            np.pad(v[i].double().numpy(), ((0, 0), (5, 5), (5, 5)), mode="reflect")
            for v in (x_hat, x)
        ]
        expected = structural_similarity(
            *padded, data_range=1, channel_axis=0, sigma=1.5,
            gaussian_weights=True, use_sample_covariance=False,
        )  # fmt: skip
        assert values[i].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("pixels", [40 * 20, 40 * 13, 1])
def test_ssim_of_large_images_comes_in_bands(pixels: int, monkeypatch: pytest.MonkeyPatch):
    """The last band has a row or a few, which are fewer than the window."""
    images = pair(2, 3, 41, 40)
    expected = ssim(*images)
    monkeypatch.setattr(metrics, "SSIM_BAND_PIXELS", pixels)
    torch.testing.assert_close(ssim(*images), expected, rtol=1e-6, atol=0)


def test_ssim_of_images_smaller_than_its_window():
    assert ssim(*pair(2, 3, 10, 40)).isnan().all()
    assert ssim(*pair(2, 3, 11, 11)).isfinite().all()


def test_nmse_by_definition():
    x_hat, x = pair()
    expected = [((a - b) ** 2).mean() / (b**2).mean() for a, b in zip(x_hat, x, strict=True)]
    torch.testing.assert_close(nmse(x_hat, x), torch.stack(expected))


def test_metrics_do_not_depend_on_the_batch():
    x_hat, x = pair()
    for metric in (psnr_db, ssim, nmse):
        alone = torch.cat([metric(x_hat[i : i + 1], x[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(metric(x_hat, x), alone)


def test_reconstruction_metrics():
    x_hat, x = pair(1)
    metrics = reconstruction_metrics(x_hat, x)
    assert list(metrics) == ["psnr_db", "ssim", "nmse"]
    assert metrics["psnr_db"] == psnr_db(x_hat, x).item()
    clipped = reconstruction_metrics(x_hat.clamp(0, 1), x)
    assert clipped["psnr_db"] != metrics["psnr_db"]
    assert reconstruction_metrics(x_hat, None) == {"psnr_db": None, "ssim": None, "nmse": None}


@pytest.mark.parametrize("shapes", [((2, 3, 8, 8),) * 2, ((1, 3, 8, 8), (1, 1, 8, 8))])
def test_reconstruction_metrics_want_one_image_each(shapes: tuple[tuple[int, ...], ...]):
    with pytest.raises(ValueError, match=r"expected two images \(1, C, H, W\), got \(\d, 3, 8, 8"):
        reconstruction_metrics(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_lpips_downloads_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert lpips(*pair(1, 3, 64, 64)) is None


def test_lpips_by_torchmetrics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Weights of AlexNet as they are drawn: a distance too, though not that of the paper."""
    weights = torchvision.models.AlexNet_Weights.IMAGENET1K_V1
    file = tmp_path / "checkpoints" / Path(weights.url).name
    file.parent.mkdir()
    file.touch()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    drawn = torchvision.models.alexnet().state_dict()
    monkeypatch.setattr(type(weights), "get_state_dict", lambda *_, **__: drawn)
    _lpips_metric.cache_clear()
    x_hat, x = pair(1, 3, 64, 64)
    distance = lpips(x_hat, x)
    assert distance is not None
    assert distance > 0
    assert lpips(x, x) == 0
    assert lpips(x_hat, x) == pytest.approx(distance)  # nothing is kept of earlier pairs
    assert lpips(*pair(1, 1, 64, 64)) is not None
    assert lpips(*pair(1, 3, 31, 31)) is not None
    assert lpips(*pair(1, 3, 30, 64)) is None
    assert lpips(*pair(1, 2, 64, 64)) is None
    _lpips_metric.cache_clear()
