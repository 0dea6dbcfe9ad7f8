"""JPEG compression as an operator with a gradient, and as files have it."""

from __future__ import annotations

import io

import numpy as np
import torch
from deepinv.physics import Denoising, Physics, ZeroNoise
from PIL import Image
from torch import Tensor

GREY, COLOUR = 1, 3


class JPEGCompression(Physics):
    """Compress and decompress an image, with kornia's differentiable codec.

    Model:
        The rounding of coefficients is replaced by a polynomial close to it, so that y is some
        39 to 45 dB from what ``jpeg_file`` gives. Chroma is halved (4:2:0). A grey image is
        compressed as a colour image without chroma.
    Shape:
        ``A``: (B, 1 or 3, H, W) -> the same.
    Args:
        quality: 1 (strongest compression) to 100.
    References:
        Reich et al. (2024), Differentiable JPEG: The Devil is in the Details, arXiv:2309.06978.
    """

    quality: Tensor

    def __init__(self, quality: float) -> None:
        super().__init__()
        self.register_buffer("quality", torch.tensor([float(quality)]))

    def A(self, x: Tensor, **_: object) -> Tensor:
        """Return the decompressed image."""
        from kornia.enhance import jpeg_codec_differentiable

        channels = x.shape[1]
        y: Tensor = jpeg_codec_differentiable(
            x.expand(-1, COLOUR, -1, -1).contiguous(), self.quality.to(x)
        )
        return y if channels == COLOUR else y.mean(1, keepdim=True)


class UncodedImage(Denoising):
    """The identity in place of the codec: a fit explains the file as it is.

    Args:
        quality: of the file, kept for measurement files.
    """

    quality: Tensor

    def __init__(self, quality: float) -> None:
        super().__init__(ZeroNoise())
        self.register_buffer("quality", torch.tensor([float(quality)]))


def jpeg_file(x: Tensor, quality: int) -> Tensor:
    """Return an image (1, 1 or 3, H, W) as it comes back from a JPEG file of that quality."""
    pixels = (255 * x[0].clamp(0, 1)).round().byte().permute(1, 2, 0).cpu().numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if x.shape[1] == GREY else pixels).save(
        stream, "JPEG", quality=quality, subsampling="4:2:0"
    )
    read = np.atleast_3d(np.array(Image.open(stream)))
    return torch.from_numpy(read).permute(2, 0, 1)[None].to(x) / 255
