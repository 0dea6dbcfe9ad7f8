"""Arrays that no measurement has: refused by name in one line, or read as what they mean."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metadip import config
from metadip.tasks import load_measurement
from metadip.types import UserError

Y = torch.rand((3, 4, 5), generator=torch.Generator().manual_seed(0))
SENSED: dict[str, Any] = {
    "y": Y.flatten()[:20], "image_shape": (3, 4, 5), "seed": 3, "operator": "structured",
}  # fmt: skip


def task(name: str) -> Any:
    noiseless = [] if name == "denoise" else ["task.noise_std=0"]
    return config.build(config.compose("infer", [f"task={name}", *noiseless]).task)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("denoise", {"y": Y.to_sparse()}, "y is sparse or without values"),
        ("denoise", {"y": torch.empty(3, 4, 5, device="meta")}, "y is sparse or without values"),
        ("denoise", {"y": Y, "noise_std": torch.empty((), device="meta")}, "noise_std is sparse"),
        ("inpaint", {"y": Y, "mask": Y.to_sparse()}, "mask is sparse or without values"),
        ("inpaint", {"y": Y, "mask": torch.ones(4, 5) + 0j}, "mask must have shape"),
        ("cs", {**SENSED, "seed": 2**80}, r"seed must be below 2\*\*63"),
        ("cs", {**SENSED, "seed": [0] * 1000}, r"seed must be a whole number, got \[0, 0.*\.\.\.$"),
        (
            "cs",
            {**SENSED, "seed": torch.zeros([1] * 30 + [0])},
            r"got an array \(1, 1, 1, 1, 1\) of",
        ),
        ("cs", {**SENSED, "image_shape": (3, 2**80, 1)}, "image_shape must be three whole numbers"),
        ("cs", {**SENSED, "n_layers": 10**12}, r"more than task\.max_bytes="),
    ],
)
def test_they_are_refused(name: str, content: dict[str, Any], text: str, tmp_path: Path):
    torch.save(content, tmp_path / "y.pt")
    with pytest.raises(UserError, match=text) as caught:
        load_measurement(tmp_path / "y.pt", task(name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.longdouble, np.float16, ">f4"])
def test_floats_of_any_width_and_order(dtype: Any, tmp_path: Path):
    np.savez(tmp_path / "y.npz", y=Y.numpy().astype(dtype))
    y = load_measurement(tmp_path / "y.npz", task("denoise")).y[0]
    torch.testing.assert_close(y, Y, rtol=0, atol=1e-3)


def test_members_that_are_no_arrays(tmp_path: Path):
    np.savez(tmp_path / "y.npz", y=Y.numpy())
    with zipfile.ZipFile(tmp_path / "y.npz", "a") as archive:
        archive.writestr("note.txt", "taken on a Monday")
    torch.testing.assert_close(load_measurement(tmp_path / "y.npz", task("denoise")).y[0], Y)
