"""Set up the process of a run: memory, threads, precision, quiet libraries, Lightning's trainer."""

from __future__ import annotations

import logging
import os
import time
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from metadip import config
from metadip.limits import set_limit
from metadip.types import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

# Up to this side, px, more threads take more processor time and no less wall time
# (benchmarks/threads.py).
ONE_THREAD_PX = 96
SLOW_BF16 = 1.5  # times float32: without bf16 in hardware it is near 10, with it below 1
TRIALS = 3


def trainer_of(cfg: config.Config, **extra: Any) -> Trainer:
    """Build Lightning's trainer.

    Raises:
        UserError: If Lightning rejects the devices or another setting on this machine.
    """
    try:
        trainer: Trainer = config.build(cfg.trainer, **extra)
    except UserError as error:
        asked = (
            f"trainer.devices={cfg.trainer.devices} trainer.accelerator={cfg.trainer.accelerator}"
        )
        raise UserError(f"{asked}: {str(error).removeprefix('trainer: ')}") from error
    return trainer


def prepare_process(cfg: config.Config) -> None:
    """Set the number of threads and the limit of memory, and silence the libraries."""
    set_limit(1e9 * cfg.max_gb)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"lightning\.")


def threads_of_size(size_px: int, *, available: int) -> int:
    """Return the number of threads for images of a side: one for small ones, else all."""
    return 1 if size_px <= ONE_THREAD_PX else available


def usable_precision(key: str, precision: str, *, accelerator: str, plain: str) -> str:
    """Return a precision, or ``plain`` for bf16 on a CPU that only emulates it.

    Intel's Cooper Lake and Sapphire Rapids, AMD's Zen 4 and Arm's v8.6 compute in bf16; processors
    before them take about ten times as long as in float32. Measured once per process.

    Args:
        key: the setting, for the message.
        precision: that was asked for.
        accelerator: of the trainer.
        plain: the name of float32.
    """
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    if not (precision.startswith("bf16") and on_cpu and bf16_ratio() > SLOW_BF16):
        return precision
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(
            f"{key}={precision}: this CPU has no bf16 in hardware and would take "
            f"{bf16_ratio():.0f} times as long; using {plain}"
        )
    return plain


@cache
def bf16_ratio() -> float:
    """Return the time of a convolution in bf16 over that in float32, on the CPU."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, kernel = torch.ones(1, 32, 64, 64).to(dtype), torch.ones(32, 32, 3, 3).to(dtype)
        times = []
        for _ in range(TRIALS + 1):  # the first one sets up
            begin = time.thread_time()
            torch.nn.functional.conv2d(x, kernel)
            times.append(time.thread_time() - begin)
        seconds[dtype] = min(times[1:])
    return seconds[torch.bfloat16] / seconds[torch.float32]
