"""Networks on large images: in tiles that overlap by what a pixel sees, with the same result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

TILE_PX = 1024  # side of a tile; 0.2 GB for each tensor of 32 channels, and a fifth more to compute
_tile_px: ContextVar[int] = ContextVar("tile_px", default=TILE_PX)


@contextmanager
def tiles_of(tile_px: int) -> Iterator[None]:
    """Set the side of tiles in this block, 0 for whole images."""
    token = _tile_px.set(tile_px)
    try:
        yield
    finally:
        _tile_px.reset(token)


def in_tiles(network: nn.Module, z: Tensor) -> Tensor:
    """Return ``network(z)``, computed in tiles where z is larger than one and needs no gradient.

    Model:
        Tiles of the output are at most ``tiles_of`` pixels wide and cover it once. For each, the
        network sees that tile and ``reach_px`` more on every side, from a multiple of
        ``multiple_px`` on, so that the result is that of the whole image but for rounding.
    Shape:
        (B, C, H, W) -> (B, C', H, W).
    Args:
        network: with ``reach_px``, how far away input pixels matter to an output pixel, and
            ``multiple_px``, by which it may be moved; others see the whole image.
        z: its input.
    """
    tile_px, reach_px = _tile_px.get(), getattr(network, "reach_px", None)
    height, width = z.shape[-2:]
    if reach_px is None or not tile_px or max(height, width) <= tile_px or torch.is_grad_enabled():
        whole: Tensor = network(z)
        return whole
    step: int = network.multiple_px  # type: ignore[assignment]
    margin = -(-reach_px // step) * step
    rows = []
    for top, bottom in _spans(height, tile_px, step):
        above = max(0, top - margin)
        band = z[..., above : bottom + margin, :]
        tiles = []
        for left, right in _spans(width, tile_px, step):
            before = max(0, left - margin)
            tile: Tensor = network(band[..., before : right + margin])
            tiles.append(tile[..., top - above : bottom - above, left - before : right - before])
        rows.append(torch.cat(tiles, dim=-1))
    return torch.cat(rows, dim=-2)


def _spans(length: int, tile_px: int, step: int) -> list[tuple[int, int]]:
    """Return the starts and ends of tiles of nearly one size, which begin at multiples of step.

    Example:
        >>> _spans(100, 48, 8)
        [(0, 40), (40, 80), (80, 100)]
    """
    count = -(-length // max(tile_px, step))
    size = -(-length // (count * step)) * step
    return [(start, min(start + size, length)) for start in range(0, length, size)]
