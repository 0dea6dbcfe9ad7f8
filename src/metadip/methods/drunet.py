"""The learned denoiser DRUNet, whose weights are read without running code."""

from __future__ import annotations

import pickle
from typing import Any

import torch
from torch import Tensor, nn

from metadip.types import UserError

URL = "https://huggingface.co/deepinv/drunet/resolve/main/"
FILES = {1: "drunet_deepinv_gray_finetune_26k.pth", 3: "drunet_deepinv_color_finetune_22k.pth"}


class DRUNet(nn.Module):
    """Denoise with a U-Net that takes the noise level as input.

    Model:
        64, 128, 256 and 512 channels, 4 residual blocks per scale, and the noise level as an
        additional input channel.
    Args:
        weights: a file with the state dict of deepinv's or the authors' network, or "download" for
            deepinv's.
        channels: of the images, 3 or 1: there are weights for each.
    Raises:
        UserError: If ``weights`` is missing, ``channels`` is not 3 or 1, or the weights cannot be
            downloaded, read or used; when called, if an image has other channels.
    Cost: 32.6 M weights, 130 MB.
    References: Zhang et al. (2021), Plug-and-Play Image Restoration with Deep Denoiser Prior,
        arXiv:2008.13751.
    """

    def __init__(self, weights: str | None, *, channels: int) -> None:
        from deepinv.models import DRUNet as DeepinvDRUNet

        super().__init__()
        if channels not in FILES:
            raise UserError(f"denoiser.channels={channels} must be 3 (colour) or 1 (grey)")
        if weights is None:
            raise UserError(
                "denoiser=drunet needs weights: give denoiser.weights=download (130 MB, once), or "
                f"denoiser.weights=FILE with {URL}{FILES[channels]}"
            )
        state = _download(channels) if weights == "download" else _read(weights)
        self.channels = channels
        with torch.device("meta"):  # drawing weights only to replace them would take seconds
            self.network = DeepinvDRUNet(channels, channels, pretrained=None)
        try:
            self.network.load_state_dict(state, assign=True)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise UserError(
                f"denoiser.weights={weights} are not those of a DRUNet for {channels} channels: "
                f"take {FILES[channels]}"
            ) from error
        self.network.eval().requires_grad_(False)

    def forward(self, y: Tensor, noise_std: float) -> Tensor:
        """See ``metadip.methods.denoisers.Denoiser``."""
        if y.shape[1] != self.channels:
            raise UserError(
                f"denoiser=drunet has weights for {self.channels} channels, an image has "
                f"{y.shape[1]}: set denoiser.channels"
            )
        weight = next(self.network.parameters())
        denoised: Tensor = self.network(y.to(weight), noise_std)
        return denoised.to(y)


def _read(path: str) -> Any:
    """Read a file of tensors."""
    try:
        return torch.load(str(path), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(
            f"denoiser.weights={path} cannot be read: it must be 'download' or a file of weights, "
            "neither truncated nor holding code"
        ) from error


def _download(channels: int) -> Any:
    """Fetch deepinv's weights into the cache of torch.hub, once."""
    name = FILES[channels]
    try:
        return torch.hub.load_state_dict_from_url(
            URL + name, map_location="cpu", file_name=name, weights_only=True
        )
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"denoiser.weights=download failed ({reason}): fetch {URL}{name} elsewhere and give "
            "denoiser.weights=FILE"
        ) from error
