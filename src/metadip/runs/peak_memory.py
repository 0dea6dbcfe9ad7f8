"""Peak memory of a block of code, on top of what was in use before."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from pathlib import Path
from typing import Self

import torch

STATM = Path("/proc/self/statm")  # Linux; its second number is the resident set in pages
INTERVAL_S = 0.02


class PeakMemory:
    """Measure the peak memory of a ``with`` block.

    Model:
        On a GPU, the most that PyTorch had allocated, less what it had before. On a CPU, the growth
        of the process's resident set, sampled every 20 ms, after free memory was returned to the
        system where glibc can do so; fragmented free memory is reused unseen.
    Args:
        device: device that the block runs on.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.done = device, threading.Event()
        self.before = self.highest = 0

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
        elif STATM.is_file():
            _give_back()
            self.before = self.highest = _resident_bytes()
            self.thread = threading.Thread(target=self._watch, daemon=True)
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        if self.device.type == "cuda":
            self.highest = torch.cuda.max_memory_allocated(self.device)
        elif STATM.is_file():
            self.thread.join()

    @property
    def megabytes(self) -> float | None:
        """The growth in 1e6 bytes; None if the system does not report it."""
        known = self.device.type == "cuda" or STATM.is_file()
        return (self.highest - self.before) / 1e6 if known else None

    def _watch(self) -> None:
        finished = False
        while not finished:
            finished = self.done.wait(INTERVAL_S)
            self.highest = max(self.highest, _resident_bytes())  # once more at the end


def _give_back() -> None:
    """Ask glibc to return freed memory; other systems have no such call."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _resident_bytes() -> int:
    import resource

    return int(STATM.read_text().split()[1]) * resource.getpagesize()
