"""Measure the peak memory of a piece of work, above what the process held before.

On a CPU, this is the peak of the resident set, available on Linux only, in a process started with
the settings ``MALLOC`` of the C library: a freed tensor is returned to the system at once, so the
peak is what the work holds. On a GPU, it is the peak of the memory allocated by PyTorch.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import torch

MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
MIB = 2**20


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Return the peak memory of ``work`` in bytes, above what was held before."""
    if device.type == "cuda":
        idle = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - idle
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    idle = _resident_bytes("VmRSS")
    work()
    return _resident_bytes("VmHWM") - idle


def _resident_bytes(field: str) -> int:
    """Return a field of this process's status in Linux: VmRSS (current size) or VmHWM (peak)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.findall(rf"{field}:\s+(\d+) kB", status)[0])
