"""Small files and settings cannot ask for much memory: sizes are checked before it is taken."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from metadip import config, limits
from metadip.checkpoint import load_prior
from metadip.data import images, read_image
from metadip.limits import bounded
from metadip.tasks import DenoisingTask, load_measurement
from metadip.types import UserError
from tests.tiny import save_tiny_prior

TASK = DenoisingTask(0.1, clip=False)


@pytest.fixture
def megabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_limit_bytes", 1e6)


def test_networks_are_counted_before_they_are_made():
    with bounded("it", 4 * 101 * 100):
        nn.Linear(100, 100)
    with pytest.raises(UserError, match=r"it takes more than 4e-05 GB"), bounded("it", 40_000):
        nn.Linear(100, 100)
    with pytest.raises(UserError, match="it takes more than"), bounded("it"):
        nn.Conv2d(200_000, 200_000, 3)
    made = nn.Linear(100, 100)  # no limit outside
    assert made.weight.shape == (100, 100)


def test_too_many_tensors_are_not_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "MAX_TENSORS", 10)
    with pytest.raises(UserError, match="or 10 tensors: check its sizes"), bounded("it"):
        [nn.Linear(1, 1) for _ in range(10**6)]


@pytest.mark.parametrize(
    "changes",
    [
        ["method=dip", "prior.network.channels=[90000,90000]", "prior.network.skip_channels=[4,4]"],
        ["method=dip", "prior.latent.size_px=1000000"],
    ],
)
def test_a_network_of_the_command_line(changes: list[str]):
    cfg = config.compose("infer", changes)
    with pytest.raises(UserError, match=r"method takes more than 4 GB of memory or"):
        config.build(cfg.method, steps=1, execution=None, callbacks=[])


def test_a_file_cannot_describe_a_network_larger_than_itself(tmp_path: Path):
    good = save_tiny_prior(tmp_path / "prior.safetensors")
    with safe_open(good, framework="pt") as file:
        metadata = dict(file.metadata())
    description = json.loads(metadata["description"])
    network = description["representation"]["network"]
    network["channels"], network["skip_channels"] = [20_000, 20_000], [4, 4]
    metadata["description"] = json.dumps(description)
    save_file(load_file(good), tmp_path / "bad.safetensors", metadata=metadata)
    with pytest.raises(UserError, match=r"the network that it describes takes more than 0\.0"):
        load_prior(tmp_path / "bad.safetensors")


@pytest.mark.usefixtures("megabyte")
@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_archives_that_unpack_to_much(suffix: str, tmp_path: Path):
    path = tmp_path / f"y{suffix}"
    if suffix == ".pt":
        torch.save({"y": torch.rand(3, 8, 8)}, path)
    else:
        np.savez(path, y=np.zeros((3, 8, 8), np.float32))
    load_measurement(path, TASK)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("unused", b"\0" * 2_000_000)
    assert path.stat().st_size < 10_000
    with pytest.raises(UserError, match=r"the content of .* takes 0\.002 GB of memory, more than"):
        load_measurement(path, TASK)


@pytest.mark.usefixtures("megabyte")
def test_tensors_without_strides(tmp_path: Path):
    torch.save({"y": torch.zeros(1).expand(3, 20_000, 20_000)}, tmp_path / "y.pt")
    with pytest.raises(UserError, match=r"y\.pt: y takes 4\.8 GB of memory, more than max_gb"):
        load_measurement(tmp_path / "y.pt", TASK)


def test_shapes_of_images_that_nobody_has(tmp_path: Path):
    task = config.build(config.compose("infer", ["task=cs", "task.noise_std=0"]).task)
    content = {"y": torch.zeros(4), "seed": 0, "operator": "structured"}
    for shape in ((3, 20_000, 20_000), (3, 2**40, 2), (3, 2**80, 1)):
        torch.save({**content, "image_shape": shape}, tmp_path / "y.pt")
        with pytest.raises(UserError, match=r"more than max_gb|three whole numbers"):
            load_measurement(tmp_path / "y.pt", task)


def test_a_huge_image_is_shrunk_while_it_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pixels = np.linspace(0, 255, 96 * 64 * 3).reshape(64, 96, 3).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    whole = read_image(tmp_path / "a.png", size_px=4)
    assert whole.shape == (3, 64, 96)
    monkeypatch.setattr(images, "HUGE", 1000)
    small = read_image(tmp_path / "a.png", size_px=4)
    assert small.shape == (3, 16, 24)
    means = torch.nn.functional.avg_pool2d(whole, 4)
    torch.testing.assert_close(small, means, rtol=0, atol=1 / 255)


@pytest.mark.usefixtures("megabyte")
def test_an_image_above_the_limit(tmp_path: Path):
    Image.new("L", (600, 500)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png' of 600x500 px takes 0\.0012 GB of memory"):
        read_image(tmp_path / "a.png")
