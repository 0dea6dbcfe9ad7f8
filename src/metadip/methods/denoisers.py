"""Denoisers of Gaussian noise without learning: BM3D, non-local means, total variation, wavelets.

Each takes a noisy image and the standard deviation of its noise, as deepinv's denoisers do, which
can be used instead. Images of a batch are independent of one another.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from metadip.types import UserError

IMPLEMENTATIONS = ("torch", "pypi")
BM3D_MIN_PX = 8  # side of a block
WAVELET_MIN_PX = 15  # db8 does not fit into smaller images
BM3D_CHUNK = 256  # groups of blocks at once: 0.1 GB of candidates; does not change the result
OPPONENT = torch.nn.functional.normalize(
    torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
)
WAVELETS = ("haar", "db2", "db4", "db8")
TV_TOLERANCE, TV_ITERATIONS = 1e-5, 500  # at scikit-image's own 2e-4 it stops 0.3 dB early


class Denoiser(Protocol):
    """Remove Gaussian noise of a known level.

    Shape:
        y (B, C, H, W) -> (B, C, H, W).
    """

    def __call__(self, y: Tensor, noise_std: float, /) -> Tensor:
        """Return the images with noise of standard deviation ``noise_std`` removed."""
        ...


@runtime_checkable
class Continuing(Protocol):
    """A denoiser that goes on from call to call."""

    def of_one_reconstruction(self) -> Denoiser:
        """Return one that does so, starting anew."""
        ...


def of_one_reconstruction(denoiser: Denoiser) -> Denoiser:
    """Return the denoiser to use for the successive images of one reconstruction."""
    return denoiser.of_one_reconstruction() if isinstance(denoiser, Continuing) else denoiser


class BM3D(nn.Module):
    """Filter groups of similar blocks together (block matching and 3D filtering).

    Model:
        Hard thresholding, then Wiener filtering, of stacks of similar 8 x 8 blocks, in opponent
        colours (CBM3D): worth 1.5 dB on faces at 25 of 255.
    Args:
        implementation: "torch" is deepinv's and runs on the image's device; "pypi" is the authors'
            package ``bm3d``, whose licence allows non-commercial use only. It groups blocks by
            luminance alone, and was 0.2 dB better in colour.
    Raises:
        UserError: If ``implementation`` is unknown or its package is not installed; when called, if
            an image is smaller than 8 px.
    Cost: about 1 s for 64 px and 6 s for 128 px in colour on one thread ("torch").
    References: Dabov et al. (2007), doi:10.1109/TIP.2007.901238; in colour doi:10.1109/
        ICIP.2007.4378954.
    """

    def __init__(self, implementation: str) -> None:
        from deepinv import models

        super().__init__()
        if implementation not in IMPLEMENTATIONS:
            raise UserError(
                f"denoiser.implementation={implementation} must be one of "
                f"{', '.join(IMPLEMENTATIONS)}"
            )
        if implementation == "torch":
            _need("ptwt", "denoiser=bm3d")
            self.filter = models.BM3D(use_legacy=False, chunk_size=BM3D_CHUNK)
        elif find_spec("bm3d") is None:
            raise UserError(
                "denoiser.implementation=pypi needs the package bm3d (non-commercial use only): "
                "pip install bm3d, or take denoiser.implementation=torch"
            )
        self.implementation = implementation

    def forward(self, y: Tensor, noise_std: float) -> Tensor:
        """See ``Denoiser``."""
        if min(y.shape[-2:]) < BM3D_MIN_PX:
            raise UserError(
                f"denoiser=bm3d needs images of at least {BM3D_MIN_PX} px, got "
                f"{y.shape[-2]}x{y.shape[-1]}: take denoiser=nlm"
            )
        if self.implementation == "pypi":
            return _authors_bm3d(y, noise_std)
        return in_opponent_colours(y, lambda image: self.filter(image.float(), noise_std))


def in_opponent_colours(y: Tensor, denoise: Callable[[Tensor], Tensor]) -> Tensor:
    """Denoise luminance and two colour differences instead of red, green and blue.

    Luminance collects what the channels share; an orthonormal basis leaves the noise as it is.
    """
    if y.shape[1] != 3:
        return denoise(y).to(y)
    basis = OPPONENT.to(y)
    denoised = denoise(torch.einsum("ij,bjhw->bihw", basis, y)).to(y)
    return torch.einsum("ji,bjhw->bihw", basis, denoised)


def _authors_bm3d(y: Tensor, noise_std: float) -> Tensor:
    """Call the package ``bm3d``, for colour images its colour version."""
    import bm3d

    in_colour = y.shape[1] == 3
    function = bm3d.bm3d_rgb if in_colour else bm3d.bm3d
    pictures = y.permute(0, 2, 3, 1).double().cpu().numpy()
    images = np.stack([np.asarray(function(p, noise_std)) for p in pictures])
    return torch.from_numpy(images.reshape(pictures.shape)).permute(0, 3, 1, 2).to(y)


class NLM(nn.Module):
    """Average pixels whose neighbourhoods look alike (non-local means).

    Args:
        patch_px: side of the neighbourhoods that are compared, at least 1.
        distance_px: how far apart they may be, at least 1.
        h: decay of the weights in standard deviations of the noise, above 0.
    Raises:
        ValueError: If an argument is out of range.
    References: Buades et al. (2005), doi:10.1109/CVPR.2005.38.
    """

    def __init__(self, *, patch_px: int, distance_px: int, h: float) -> None:
        super().__init__()
        if patch_px < 1 or distance_px < 1 or h <= 0:
            raise ValueError(
                f"need patch_px >= 1, distance_px >= 1 and h > 0, got {patch_px}, {distance_px} "
                f"and {h}"
            )
        self.patch_px, self.distance_px, self.h = patch_px, distance_px, h

    def forward(self, y: Tensor, noise_std: float) -> Tensor:
        """See ``Denoiser``."""
        from skimage.restoration import denoise_nl_means

        return _each(
            y,
            denoise_nl_means,
            patch_size=self.patch_px,
            patch_distance=self.distance_px,
            h=self.h * noise_std,
            sigma=noise_std,
            fast_mode=True,
        )


class TV(nn.Module):
    """Find the image of small isotropic total variation near the noisy one.

    Model:
        argmin_x 1/2 ||x - y||^2 + weight * noise_std * TV(x), each opponent colour on its own.
    Args:
        weight: above 0.
    Raises:
        ValueError: If ``weight`` is not above 0.
    References: Chambolle (2004), doi:10.1023/B:JMIV.0000011325.36760.1e.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        if weight <= 0:
            raise ValueError(f"weight must be above 0, got {weight}")
        self.weight = weight

    def forward(self, y: Tensor, noise_std: float) -> Tensor:
        """See ``Denoiser``."""
        from skimage.restoration import denoise_tv_chambolle

        return in_opponent_colours(
            y,
            lambda image: _each(
                image,
                denoise_tv_chambolle,
                weight=self.weight * noise_std,
                eps=TV_TOLERANCE,
                max_num_iter=TV_ITERATIONS,
            ),
        )


class Wavelet(nn.Module):
    """Drop the small coefficients of an image in four wavelet bases at once.

    Model:
        Hard thresholding of each opponent colour.

    Args:
        threshold: coefficients below it are dropped; in standard deviations of the noise, above 0.
    Raises:
        ValueError: If ``threshold`` is not above 0.
        UserError: If ptwt is not installed; when called, if an image is smaller than 15 px.
    References: Donoho and Johnstone (1994), doi:10.1093/biomet/81.3.425.
    """

    def __init__(self, threshold: float) -> None:
        from deepinv.models import WaveletDictDenoiser

        super().__init__()
        if threshold <= 0:
            raise ValueError(f"threshold must be above 0, got {threshold}")
        _need("ptwt", "denoiser=wavelet")
        self.threshold = threshold
        self.dictionary = WaveletDictDenoiser(
            list_wv=WAVELETS, level=3, non_linearity="hard", mode="periodic"
        )

    def forward(self, y: Tensor, noise_std: float) -> Tensor:
        """See ``Denoiser``; one image at a time, because a batch shares its stopping criterion."""
        threshold = self.threshold * noise_std
        height, width = y.shape[-2:]
        if min(height, width) < WAVELET_MIN_PX:
            raise UserError(
                f"denoiser=wavelet needs images of at least {WAVELET_MIN_PX} px, got "
                f"{height}x{width}: take denoiser=nlm"
            )
        padded = nn.functional.pad(y, (0, width % 2, 0, height % 2), mode="replicate")

        def shrink(images: Tensor) -> Tensor:
            return torch.cat([self.dictionary(image, threshold) for image in images.split(1)])

        return in_opponent_colours(padded, shrink)[..., :height, :width]


def _need(package: str, what: str) -> None:
    """Raise ``UserError`` if an optional package is missing."""
    if find_spec(package) is None:
        raise UserError(f"{what} needs the package {package}: pip install 'metadip[baselines]'")


def _each(y: Tensor, function: Callable[..., NDArray[Any]], **options: Any) -> Tensor:
    """Apply a scikit-image function, which may drop the axis of a single channel, to each image."""
    pictures = y.permute(0, 2, 3, 1).double().cpu().numpy()  # (B, H, W, C)
    images = np.stack([function(picture, channel_axis=-1, **options) for picture in pictures])
    return torch.from_numpy(images.reshape(pictures.shape)).permute(0, 3, 1, 2).to(y)
