"""Damaged priors, checkpoints, measurements and images, one for each number."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save

from tests.security.mutations import (
    VALUES,
    Marker,
    damaged_bytes,
    damaged_tensor,
    damaged_tree,
)
from tests.tiny import save_tiny_prior

RAW = (b"[" * 100_000, b"9" * 5000, b"null", b"[1]", b'"text"', b"{", b"\xff\xfe", b"NaN")
IMAGES = ("png", "jpg", "bmp", "gif", "tiff", "webp", "ppm")


class Good:
    """Good files to damage.

    Args:
        folder: where files are written; ``executed`` appears there if one of them ran code.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.executed = folder, folder / "executed"
        self.prior = save_tiny_prior(folder / "good.safetensors").read_bytes()
        with safe_open(folder / "good.safetensors", framework="pt") as file:
            self.metadata = dict(file.metadata())
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.description = json.loads(self.metadata["description"])
        noise = torch.rand((3, 8, 8), generator=torch.Generator().manual_seed(0))
        self.measurements: dict[str, dict[str, Any]] = {
            "denoise": {"y": noise, "x": noise, "noise_std": 0.1},
            "inpaint": {"y": noise, "mask": (noise[:1] > 0.5).float(), "image_shape": (3, 8, 8)},
            "cs": {"y": noise.flatten()[:40], "image_shape": (3, 8, 8), "seed": 3, "n_layers": 2,
                   "operator": "structured"},
            "cpr": {"y": noise.flatten(), "image_shape": (3, 8, 8),
                    "A": torch.rand(192, 192), "noise_std": 0.1},
        }  # fmt: skip
        self.images = {kind: _image(kind) for kind in IMAGES}

    def place(self, name: str, content: bytes) -> Path:
        """Write a file and return its path."""
        path = self.folder / name
        path.write_bytes(content)
        return path


def _image(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, {"jpg": "jpeg"}.get(kind, kind))
    return stream.getvalue()


def saved(content: Any) -> bytes:
    """Return what ``torch.save`` writes."""
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def damaged_prior(good: Good, rng: random.Random) -> Path:
    """Write a prior with a fault in its bytes, its description or its tensors."""
    kind = rng.randrange(6)
    tensors, metadata = dict(good.tensors), dict(good.metadata)
    if kind == 0:
        return good.place("prior.safetensors", damaged_bytes(good.prior, rng))
    if kind == 1:
        metadata["description"] = rng.choice(RAW).decode("latin1")
    elif kind in (2, 3):
        tree = damaged_tree(good.description, rng)
        metadata["description"] = json.dumps(tree if kind == 2 else damaged_tree(tree, rng))
    else:
        name = rng.choice(list(tensors))
        changed = damaged_tensor(tensors[name], rng)
        if isinstance(changed, torch.Tensor) and changed.numel() < 10**6 and not changed.is_meta:
            tensors[name] = changed.to_dense() if changed.is_sparse else changed
        else:
            del tensors[name]
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return good.place("prior.safetensors", save(tensors, metadata))


def damaged_checkpoint(good: Good, rng: random.Random) -> Path:
    """Write a checkpoint with a fault, or with code in it."""
    content: dict[Any, Any] = {"state_dict": dict(good.tensors), "metadip": good.description}
    kind = rng.randrange(6)
    if kind == 0:
        return good.place("prior.ckpt", damaged_bytes(saved(content), rng))
    if kind == 1:
        content[rng.choice(("state_dict", "metadip", "more"))] = Marker(good.executed)
    elif kind == 2:
        content = {**content, rng.choice(("state_dict", "metadip")): rng.choice(VALUES)}
    elif kind == 3:
        content["metadip"] = damaged_tree(good.description, rng)
    elif kind == 4:
        name = rng.choice(list(good.tensors))
        content["state_dict"][name] = damaged_tensor(good.tensors[name], rng)
    else:
        content["state_dict"][rng.choice((1, None, (1, 2), "prior.x"))] = torch.zeros(2)
    return good.place("prior.ckpt", _packed(saved(content), rng))


def damaged_measurement(good: Good, rng: random.Random) -> tuple[str, Path]:
    """Write a measurement of a task with a fault; return the name of the task and the file."""
    task = rng.choice(list(good.measurements))
    content, kind = dict(good.measurements[task]), rng.randrange(6)
    suffix = rng.choice((".pt", ".npz"))
    if kind >= 2:
        for key in rng.sample(list(content), k=min(len(content), rng.randint(1, 2))):
            value = content[key]
            tensor = isinstance(value, torch.Tensor)
            content[key] = damaged_tensor(value, rng) if tensor else damaged_tree([value], rng)
            if rng.random() < 0.5 and isinstance(content[key], list) and content[key]:
                content[key] = content[key][0]
    if kind == 1:
        content[rng.choice(("y", "x", "seed", "more"))] = Marker(good.executed)
    data = saved(content) if suffix == ".pt" else _npz(content, rng)
    if kind == 0:
        data = damaged_bytes(data, rng)
    return task, good.place(f"y{suffix}", _packed(data, rng))


def _npz(content: Mapping[str, Any], rng: random.Random) -> bytes:
    """Return the entries as an archive of arrays, of extended precision or pickled now and then."""
    arrays: dict[str, Any] = {}
    stream = io.BytesIO()
    for key, value in content.items():
        if isinstance(value, torch.Tensor):
            huge = value.is_meta or value.is_sparse or value.numel() > 10**6
            value = torch.zeros(3) if huge else value
            value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
            value = value.astype(np.longdouble) if rng.random() < 0.1 else value
        try:
            arrays[key] = np.asarray(value)
        except ValueError:
            arrays[key] = np.zeros(2)
    np.savez(stream, **arrays)
    return stream.getvalue()


def _packed(data: bytes, rng: random.Random) -> bytes:
    """Return a zip file with a member more now and then: no array, or one that unpacks to much."""
    if rng.random() < 0.9 or not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    stream = io.BytesIO(data)
    try:
        with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(rng.choice(("note.txt", "z.npy", "../up")), b"\0" * 2**22)
    except Exception:  # a damaged archive cannot be added to
        return data
    return stream.getvalue()


def damaged_image(good: Good, rng: random.Random) -> Path:
    """Write an image with a fault in its bytes."""
    kind = rng.choice(IMAGES)
    return good.place(f"image.{rng.choice((kind, *IMAGES))}", damaged_bytes(good.images[kind], rng))


Made = Callable[[Good, random.Random], Any]
KINDS: dict[str, Made] = {
    "priors": damaged_prior,
    "checkpoints": damaged_checkpoint,
    "measurements": damaged_measurement,
    "images": damaged_image,
}
