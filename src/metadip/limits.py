"""The memory that a file or a setting may ask for, checked before it is taken.

A file of a few hundred bytes can describe an image, an operator or a network of many gigabytes.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from metadip.types import UserError

FLOAT_BYTES = 4
MAX_TENSORS = 100_000  # of one network
DEFAULT_BYTES = 4_000_000_000
_limit_bytes: float = DEFAULT_BYTES


def set_limit(n_bytes: float) -> None:
    """Set the limit of this process, the scripts' ``max_gb``."""
    global _limit_bytes
    _limit_bytes = n_bytes


def check_bytes(n_bytes: float, what: str) -> None:
    """Reject what would take more memory than the limit.

    Raises:
        UserError: If it would; the message says ``what`` it is.
    """
    if n_bytes > _limit_bytes:
        raise UserError(
            f"{what} takes {n_bytes / 1e9:.3g} GB of memory, more than max_gb="
            f"{_limit_bytes / 1e9:g}: check it, or raise max_gb"
        )


def check_image(shape: Sequence[int], what: str) -> None:
    """Reject an image (C, H, W) that would take more memory than the limit, in float32.

    Raises:
        UserError: If it would.
    """
    check_bytes(FLOAT_BYTES * math.prod(shape), what)


def check_archive(path: Path) -> None:
    """Reject a zip file whose members, unpacked, would take more memory than the limit.

    Other files, and damaged ones, are left to their readers.

    Raises:
        UserError: If they would.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return
    check_bytes(n_bytes, f"the content of {path}")


@contextmanager
def bounded(what: str, n_bytes: float | None = None) -> Iterator[None]:
    """Limit the tensors that constructors in the block make, all together.

    Args:
        what: is built, for the message.
        n_bytes: limit where it is lower than that of the process.
    Raises:
        UserError: Before a tensor is made that would go beyond it.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    makers = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)
    limit = min(_limit_bytes, math.inf if n_bytes is None else n_bytes)

    class Bounded(TorchFunctionMode):
        made_bytes, made = 0, 0

        def __torch_function__(
            self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
        ) -> Any:
            if func in makers:
                self.made += 1
                self.made_bytes += FLOAT_BYTES * _numel(args, kwargs or {})
                if self.made_bytes > limit or self.made > MAX_TENSORS:
                    raise UserError(
                        f"{what} takes more than {limit / 1e9:.3g} GB of memory or "
                        f"{MAX_TENSORS} tensors: check its sizes"
                    )
            return func(*args, **(kwargs or {}))

    with Bounded():
        yield


def _numel(args: Sequence[Any], kwargs: dict[str, Any]) -> int:
    """Return the number of values that a call of ``torch.empty`` or the like makes."""
    sizes = kwargs.get("size", args)
    if sizes and isinstance(sizes[0], Sequence):
        sizes = sizes[0]
    return math.prod(size for size in sizes if isinstance(size, int))
