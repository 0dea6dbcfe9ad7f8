"""Damage of every kind to bytes, trees of plain values and tensors, drawn from a seed."""

from __future__ import annotations

import copy
import math
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2, 3.5, 10**7, 2**31, 2**63, 2**80, -(2**70), 1e-300, 1e300, math.nan,
    math.inf, -math.inf, "", "big", "../../etc/passwd", "os.system", "\n", "\udcff", [], [1], [[]],
    [1, "a"], [1e9] * 3, {}, {"type": "adam"}, {"type": "os.system"}, {"type": None}, {"a": {}},
)  # fmt: skip


class Marker:
    """Leave a file behind when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with some changed, cut off, repeated or moved."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        kind, place = rng.randrange(5), rng.randrange(max(1, len(data)))
        if kind == 0 and data:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            data[place : place + rng.randint(1, 64)] = rng.randbytes(rng.randint(0, 64))
        elif kind == 3:
            data += data[place : place + 512]
        elif data:
            size = rng.choice((1, 2, 4, 8))
            data[place : place + size] = rng.choice((b"\xff", b"\x00", b"\x7f")) * size
    return bytes(data)


def damaged_tree(tree: Any, rng: random.Random) -> Any:
    """Return a tree of plain values with one of its nodes replaced, removed or added."""
    tree = copy.deepcopy(tree)
    node, path = tree, list[tuple[Any, Any]]()
    while isinstance(node, dict | list) and node and (not path or rng.random() < 0.7):
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        path.append((node, key))
        node = node[key]
    if not path:
        return rng.choice(VALUES)
    parent, key = path[-1]
    kind = rng.randrange(6)
    if kind == 0 and isinstance(parent, dict):
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[rng.choice(("x", "type", "channels", "size_px"))] = rng.choice(VALUES)
    elif kind == 2:
        parent[key] = nested(rng.choice((3, 30, 150)))
    elif kind == 3 and isinstance(node, int | float) and not isinstance(node, bool):
        parent[key] = node * rng.choice((-1, 0, 0.5, 1000, 10**6, 10**12))
    else:
        parent[key] = rng.choice(VALUES)
    return tree


def nested(depth: int) -> list[Any]:
    """Return lists within lists."""
    tree: list[Any] = []
    for _ in range(depth):
        tree = [tree]
    return tree


def damaged_tensor(tensor: Tensor, rng: random.Random) -> Any:
    """Return a tensor of other values, another type, layout or shape, or something else."""
    kind = rng.randrange(12)
    if kind == 0:
        bad = tensor.clone().float()
        bad.view(-1)[rng.randrange(bad.numel())] = rng.choice((math.nan, math.inf, 1e30, -1e30))
        return bad
    if kind == 1:
        return tensor.to(rng.choice((torch.int8, torch.int64, torch.bool, torch.complex64)))
    if kind == 2:
        return tensor.to(rng.choice((torch.float16, torch.bfloat16, torch.float64)))
    if kind == 3:
        return tensor.to_sparse()
    if kind == 4:
        return torch.empty(tensor.shape, device="meta")
    if kind == 5:
        return torch.zeros(1).expand(3, 20000, 20000)
    if kind == 6:
        return torch.zeros(1).expand(2**40)
    if kind == 7:
        return tensor.flatten()[: rng.randrange(1 + tensor.numel())]
    if kind == 8:
        return tensor[None].repeat(2, *[1] * tensor.ndim)
    if kind == 9:
        return torch.zeros(rng.choice(((0,), (), (0, 4, 4), (3, 0, 5), (1, 1, 1))))
    if kind == 10:
        return tensor.float() * rng.choice((0.0, 255.0, 1e20))
    return rng.choice(VALUES)
