"""DnCNN: its weights are read without JAX, equal a network built by hand, and denoise."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from metadip import config
from metadip.methods import DnCNN, dncnn
from metadip.metrics import psnr_db
from metadip.types import UserError
from tests.methods.test_denoisers import noise, picture

msgpack = pytest.importorskip("msgpack")


def tree_of(depth: int, *, seed: int, channels: int = 1) -> dict[str, Any]:
    """Draw weights as scico stores them: kernels (3, 3, in, out), small so that noise passes."""
    generator = np.random.default_rng(seed)

    def draw(*shape: int) -> Any:
        return (0.05 * generator.standard_normal(shape)).astype(np.float32)

    params: dict[str, Any] = {
        "conv_start": {"kernel": draw(3, 3, channels, 64)},
        "conv_end": {"kernel": draw(3, 3, 64, channels)},
    }
    statistics: dict[str, Any] = {}
    for k in range(depth - 2):
        norm = {"scale": 1 + draw(64), "bias": draw(64)}
        params[f"ConvBNBlock_{k}"] = {"Conv_0": {"kernel": draw(3, 3, 64, 64)}, "BatchNorm_0": norm}
        statistics[f"ConvBNBlock_{k}"] = {
            "BatchNorm_0": {"mean": draw(64), "var": 1 + draw(64) ** 2}
        }
    return {"params": params, "batch_stats": statistics}


def packed(tree: Any) -> bytes:
    def extension(array: Any) -> Any:
        content = msgpack.packb([list(array.shape), array.dtype.name, array.tobytes()])
        return msgpack.ExtType(1, content)

    return msgpack.packb(tree, default=extension)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate("LMH"):
        (made / f"dncnn6{name}.mpk").write_bytes(packed(tree_of(6, seed=seed)))
    return made


def by_hand(tree: Any, y: Tensor) -> Tensor:
    """Apply the network as its authors describe it, normalisations on their own."""

    def conv(x: Tensor, kernel: Any) -> Tensor:
        weight = torch.from_numpy(kernel).permute(3, 2, 0, 1)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), weight)

    params, statistics = tree["params"], tree["batch_stats"]
    features = conv(y, params["conv_start"]["kernel"]).relu()
    for k in range(len(statistics)):
        block, seen = params[f"ConvBNBlock_{k}"], statistics[f"ConvBNBlock_{k}"]["BatchNorm_0"]
        mean, var = (torch.from_numpy(seen[n]) for n in ("mean", "var"))
        scale, bias = (torch.from_numpy(block["BatchNorm_0"][n]) for n in ("scale", "bias"))
        features = conv(features, block["Conv_0"]["kernel"])
        features = F.batch_norm(features, mean, var, scale, bias).relu()
    return y - conv(features, params["conv_end"]["kernel"])


@pytest.mark.parametrize(
    ("noise_std", "seed", "level"), [(0.03, 0, 0.06), (0.12, 1, 0.1), (0.5, 2, 0.2)]
)
def test_it_is_the_network_of_the_level_at_that_level(
    folder: Path, noise_std: float, seed: int, level: float
):
    y = torch.rand(2, 1, 9, 12)
    scaled = (y - 0.5) * level / noise_std + 0.5
    expected = (by_hand(tree_of(6, seed=seed), scaled) - 0.5) * noise_std / level + 0.5
    found = DnCNN(6, folder=str(folder))(y, noise_std)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_any_channels_and_dtype(folder: Path):
    denoiser = DnCNN(6, folder=str(folder))
    for channels in (1, 2, 3, 4):
        y = torch.rand(2, channels, 8, 11).double()
        x_hat = denoiser(y, 0.1)
        assert (x_hat.shape, x_hat.dtype) == (y.shape, torch.float64)
        torch.testing.assert_close(denoiser(y[1:], 0.1), x_hat[1:], rtol=0, atol=1e-5)
    grey = torch.rand(1, 1, 8, 11)
    coloured = denoiser(grey.expand(-1, 3, -1, -1), 0.12 * 3**0.5)
    torch.testing.assert_close(coloured.mean(1, keepdim=True), denoiser(grey, 0.12))


@pytest.mark.skipif(find_spec("scico") is None, reason="the package scico is not installed")
def test_the_weights_of_scico_denoise():
    x = picture(64, 64)
    for channels in (1, 3):
        y = (x + noise(x))[:, :channels]
        gain = psnr_db(DnCNN(17, folder=None)(y, 25 / 255), x[:, :channels]) - psnr_db(
            y, x[:, :channels]
        )
        assert gain.item() > 5


def other_depth(folder: Path) -> None:
    (folder / "dncnn6M.mpk").write_bytes(packed(tree_of(5, seed=0)))


def noise_input(folder: Path) -> None:
    (folder / "dncnn6M.mpk").write_bytes(packed(tree_of(6, seed=0, channels=2)))


def truncated(folder: Path) -> None:
    content = (folder / "dncnn6M.mpk").read_bytes()
    (folder / "dncnn6M.mpk").write_bytes(content[: len(content) // 2])


def missing(folder: Path) -> None:
    (folder / "dncnn6M.mpk").unlink()


def text(folder: Path) -> None:
    (folder / "dncnn6M.mpk").write_text("no weights")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_depth, "dncnn6M.mpk does not hold a DnCNN of 6 layers"),
        (noise_input, "dncnn6M.mpk does not hold a DnCNN of 6 layers"),
        (truncated, "dncnn6M.mpk cannot be read as weights of scico: denoiser.folder must hold dn"),
        (missing, "dncnn6M.mpk cannot be read"),
        (text, "dncnn6M.mpk cannot be read"),
    ],
)
def test_damaged_weights_are_refused(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        DnCNN(6, folder=str(tmp_path))


def test_missing_packages_and_depths_are_told(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match=r"denoiser\.depth=7 must be one of 6, 17"):
        DnCNN(7, folder=None)
    monkeypatch.setattr(
        dncnn, "find_spec", lambda name: None if name == "scico" else find_spec(name)
    )
    with pytest.raises(UserError, match=r"of the package scico \(BSD-3-Clause\): pip install 'me"):
        config.build(config.compose("infer", ["method=dncnn"]).denoiser)
    monkeypatch.setattr(dncnn, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="denoiser=dncnn needs the package msgpack"):
        DnCNN(6, folder=None)
