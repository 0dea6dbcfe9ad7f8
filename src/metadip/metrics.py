"""Image quality against the ground truth: PSNR, SSIM, nMSE, LPIPS, one value per image."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

__all__ = ["lpips", "nmse", "psnr_db", "reconstruction_metrics", "ssim"]

SSIM_WINDOW_PX = 11
SSIM_SIGMA_PX = 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
SSIM_BAND_PIXELS = 2**18  # of an image at once, so that photographs do not fill the memory
LPIPS_MIN_PX = 31  # below this, AlexNet's poolings leave nothing


def psnr_db(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB.

    Model:
        10 log10(1 / MSE), with the mean over all pixels and channels, nothing clipped or cropped,
        and data range 1.
    Shape:
        (B, C, H, W) and (B, C, H, W) -> (B,).
    """
    return -10 * torch.log10((x_hat - x).square().flatten(1).mean(dim=1))


def ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return the structural similarity of each image, as torchmetrics, deepinv and kornia do.

    Model:
        Gaussian window of 11 px with sigma 1.5, K = (0.01, 0.03), data range 1, each channel
        separately, mean over all pixels and channels, borders reflected. scikit-image leaves the
        border out of the mean and by default uses a flat window of 7 px: its numbers are higher.
    Shape:
        (B, C, H, W) and (B, C, H, W) -> (B,), NaN for images smaller than the window.
    References: Wang et al. (2004), Image Quality Assessment: From Error Visibility to Structural
        Similarity.
    """
    height, width = x.shape[-2:]
    if min(height, width) < SSIM_WINDOW_PX:
        return x_hat.new_full((len(x_hat),), torch.nan)
    reach = SSIM_WINDOW_PX // 2
    total = x_hat.new_zeros(len(x_hat), dtype=torch.float64)
    padded = [F.pad(image.double(), (reach,) * 4, mode="reflect") for image in (x_hat, x)]
    rows = max(1, SSIM_BAND_PIXELS // width)
    for top in range(0, height, rows):
        bands = (image[..., top : top + rows + 2 * reach, :] for image in padded)
        total += _similarity(*bands).sum(dim=(1, 2, 3))
    return (total / x[0].numel()).to(x_hat.dtype)


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return the structural similarity around each pixel that has a whole window."""
    mean_a, mean_b, square_a, square_b, product = (
        _window_means(values) for values in (a, b, a * a, b * b, a * b)
    )
    var_a, var_b = (square_a - mean_a**2).clamp(min=0), (square_b - mean_b**2).clamp(min=0)
    means, spreads = 2 * mean_a * mean_b + SSIM_C1, 2 * (product - mean_a * mean_b) + SSIM_C2
    return means * spreads / ((mean_a**2 + mean_b**2 + SSIM_C1) * (var_a + var_b + SSIM_C2))


def _window_means(values: Tensor) -> Tensor:
    """Return Gaussian means (B, C, H - 10, W - 10), along columns and then along rows."""
    places = torch.arange(SSIM_WINDOW_PX, device=values.device) - SSIM_WINDOW_PX // 2
    weights = torch.exp(-(places.double() ** 2) / (2 * SSIM_SIGMA_PX**2))
    weights = (weights / weights.sum()).to(values.dtype)
    flat = F.conv2d(values.flatten(0, 1)[:, None], weights.reshape(1, 1, -1, 1))
    means = F.conv2d(flat, weights.reshape(1, 1, 1, -1))
    return means.reshape(*values.shape[:2], *means.shape[-2:])


def nmse(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return ||x_hat - x||^2 / ||x||^2 of each image.

    Shape:
        (B, C, H, W) and (B, C, H, W) -> (B,).
    """
    error, energy = ((v.flatten(1).square().mean(dim=1)) for v in (x_hat - x, x))
    return error / energy


def reconstruction_metrics(x_hat: Tensor, x: Tensor | None) -> dict[str, float | None]:
    """Return ``psnr_db``, ``ssim`` and ``nmse`` of one image; None if there is no ground truth.

    Nothing is clipped, not even x_hat where it leaves [0, 1].

    Shape:
        (1, C, H, W) each.
    Raises:
        ValueError: If ``x_hat`` and ``x`` are not one image each, or differ in shape.
    """
    if x is None:
        return {"psnr_db": None, "ssim": None, "nmse": None}
    if x_hat.shape != x.shape or x_hat.ndim != 4 or len(x_hat) != 1:
        raise ValueError(
            f"expected two images (1, C, H, W), got {tuple(x_hat.shape)} and {tuple(x.shape)}"
        )
    metrics = {"psnr_db": psnr_db, "ssim": ssim, "nmse": nmse}
    return {name: metric(x_hat, x).item() for name, metric in metrics.items()}


def lpips(x_hat: Tensor, x: Tensor) -> float | None:
    """Return the perceptual distance of two images, or None if it cannot be computed.

    Model:
        LPIPS with AlexNet, values clipped to [0, 1], grey images repeated to RGB. Nothing is
        downloaded: None if torchvision's weights of AlexNet are not in the cache of torch.hub, the
        image is too small for the network, or it does not have 1 or 3 channels.
    Shape:
        (1, C, H, W) each.
    References: Zhang et al. (2018), The Unreasonable Effectiveness of Deep Features as a Perceptual
        Metric, arXiv:1801.03924.
    """
    fits = min(x.shape[-2:]) >= LPIPS_MIN_PX and x.shape[1] in (1, 3)
    if not fits or not _alexnet_is_cached():
        return None
    images = [v.detach().float().cpu().clamp(0, 1).expand(-1, 3, -1, -1) for v in (x_hat, x)]
    metric = _lpips_metric()
    metric.reset()
    return float(metric(*images))


def _alexnet_is_cached() -> bool:
    from torchvision.models import AlexNet_Weights

    file = Path(AlexNet_Weights.IMAGENET1K_V1.url).name
    return (Path(torch.hub.get_dir()) / "checkpoints" / file).is_file()


@cache
def _lpips_metric() -> LearnedPerceptualImagePatchSimilarity:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
