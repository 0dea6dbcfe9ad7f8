"""The learned denoiser DnCNN, with the weights that the package scico carries."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metadip.methods.denoisers import in_opponent_colours
from metadip.types import UserError

DEPTHS = (6, 17)
LEVELS = {"L": 0.06, "M": 0.1, "H": 0.2}  # noise that each network was trained for [scico]
GREY = 0.5  # images are scaled about it
INSTALL = (
    "pip install 'metadip[dncnn]', or, without JAX, pip install msgpack and "
    "pip install --no-deps scico==0.0.7"
)
ARRAY = 1  # msgpack's extension type of an array: shape, type, bytes [flax]
EPS = 1e-5  # of the normalisations [scico]

Layer = tuple[Tensor, Tensor]  # kernel and bias


class DnCNN(nn.Module):
    """Denoise with plain convolutional networks, each trained for one noise level.

    Model:
        x_hat = y - f(y): convolutions of 3 x 3 and 64 channels that wrap around, normalised by the
        statistics of training, and ReLU. Of the networks for 0.06, 0.1 and 0.2, the last one whose
        level the noise reaches is taken, the first one for weaker noise, and y is scaled about 0.5
        to that level: scaling up to it was worse. They learned from grey images; colours
        are denoised as luminance and two colour differences, worth 1.5 dB at 0.1.
    Args:
        depth: number of convolutions, 17 (0.56 M weights) or 6 (0.15 M), up to 3 dB worse.
        folder: with ``dncnn17L.mpk`` and the like; None for those of the package scico, which is
            looked up, not imported.
    Raises:
        UserError: If ``depth`` is neither 6 nor 17, msgpack or scico is not installed, or a file
            does not hold these weights.
    Cost: 2.3 s for 256 px in grey on one thread, 0.6 s with ``depth=6``.
    References: Zhang et al. (2017), Beyond a Gaussian Denoiser, arXiv:1608.03981. Balke et al.
        (2022), Scientific Computational Imaging Code, doi:10.21105/joss.04722, whose weights are
        under BSD-3-Clause, copyright Los Alamos National Laboratory.
    """

    def __init__(self, depth: int, *, folder: str | None) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise UserError(f"denoiser.depth={depth} must be one of {', '.join(map(str, DEPTHS))}")
        if find_spec("msgpack") is None:
            raise UserError(f"denoiser=dncnn needs the package msgpack: {INSTALL}")
        found = _folder_of_scico() if folder is None else Path(folder)
        self.networks = nn.ModuleDict(
            {name: _Network(found / f"dncnn{depth}{name}.mpk", depth) for name in LEVELS}
        )

    def forward(self, y: Tensor, noise_std: float) -> Tensor:
        """See ``Denoiser``."""
        return in_opponent_colours(y, lambda image: self._channels(image, noise_std))

    def _channels(self, y: Tensor, noise_std: float) -> Tensor:
        """Denoise luminance, brought to the range of grey images, and colour differences."""
        if y.shape[1] != 3:
            return self._grey(y, noise_std)
        whole = 3**0.5  # luminance of white in an orthonormal basis
        luminance = whole * self._grey(y[:, :1] / whole, noise_std / whole)
        differences = self._grey(y[:, 1:] + GREY, noise_std) - GREY
        return torch.cat([luminance, differences], dim=1)

    def _grey(self, y: Tensor, noise_std: float) -> Tensor:
        """Denoise each channel on its own."""
        name = max(
            (n for n in LEVELS if LEVELS[n] <= noise_std), key=LEVELS.__getitem__, default="L"
        )
        scale = LEVELS[name] / noise_std
        images = scale * (y.reshape(-1, 1, *y.shape[-2:]).float() - GREY) + GREY
        denoised: Tensor = self.networks[name](images)
        return ((denoised - GREY) / scale + GREY).reshape(y.shape).to(y)


class _Network(nn.Module):
    """Map grey images (B, 1, H, W) with noise of one level to denoised ones."""

    def __init__(self, path: Path, depth: int) -> None:
        super().__init__()
        layers = _layers(_read(path), depth, path)
        self.weights = nn.ParameterList(
            nn.Parameter(tensor, requires_grad=False) for layer in layers for tensor in layer
        )

    def forward(self, y: Tensor) -> Tensor:
        features, last = y, len(self.weights) - 2
        for k in range(0, last + 2, 2):
            padded = F.pad(features, (1, 1, 1, 1), mode="circular")
            features = F.conv2d(padded, self.weights[k], self.weights[k + 1])
            features = features if k == last else features.relu()
        return y - features


def _folder_of_scico() -> Path:
    """Return the folder of weights in the package, which is not imported: it imports JAX."""
    spec = find_spec("scico")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"denoiser=dncnn needs the weights of the package scico (BSD-3-Clause): {INSTALL}"
        )
    return Path(spec.submodule_search_locations[0], "data", "flax")


def _read(path: Path) -> Any:
    """Read a file of arrays, in which nothing is run."""
    import msgpack

    def array(code: int, data: bytes) -> Tensor:
        shape, kind, content = msgpack.unpackb(data)
        if code != ARRAY or kind != "float32":
            raise ValueError(f"{kind} instead of float32")
        return torch.from_numpy(np.frombuffer(content, np.float32).reshape(shape).copy())

    try:
        return msgpack.unpackb(path.read_bytes(), ext_hook=array)
    except (OSError, ValueError, TypeError, msgpack.UnpackException) as error:
        raise UserError(
            f"{path} cannot be read as weights of scico: denoiser.folder must hold {path.name}"
        ) from error


def _layers(tree: Any, depth: int, path: Path) -> list[Layer]:
    """Return kernel and bias of each convolution, normalisations folded into them."""
    try:
        weights, statistics = tree["params"], tree["batch_stats"]
        names = [f"ConvBNBlock_{k}" for k in range(depth - 2)]
        inner = [_folded(weights[name], statistics[name]["BatchNorm_0"]) for name in names]
        ends = [_kernel(weights[name]["kernel"]) for name in ("conv_start", "conv_end")]
        if set(weights) != {"conv_start", "conv_end", *names} or ends[0].shape[1] != 1:
            raise ValueError("another network")
        first, last = [(kernel, torch.zeros(len(kernel))) for kernel in ends]
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} does not hold a DnCNN of {depth} layers of scico") from error
    return [first, *inner, last]


def _folded(block: Mapping[str, Any], statistics: Mapping[str, Tensor]) -> Layer:
    """Return the convolution that equals a convolution and its normalisation."""
    norm = block["BatchNorm_0"]
    factor = norm["scale"] / (statistics["var"] + EPS).sqrt()
    kernel = _kernel(block["Conv_0"]["kernel"]) * factor[:, None, None, None]
    return kernel, norm["bias"] - statistics["mean"] * factor


def _kernel(kernel: Tensor) -> Tensor:
    """Turn a kernel (h, w, in, out) of flax into (out, in, h, w)."""
    return kernel.permute(3, 2, 0, 1).contiguous()
