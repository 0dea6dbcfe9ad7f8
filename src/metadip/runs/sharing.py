"""Share the images of a run among processes, each with its own GPU or its share of the cores."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

import torch

from metadip import config
from metadip.runs.process import trainer_of
from metadip.signals import signals_go, signals_wait
from metadip.types import UserError

POLL_S = 0.5  # seconds between two looks at what is finished
AUTO = "auto"
READY = "ready"  # what a process says when it wants its share
Place = int | list[int]  # the ``devices`` of the Lightning trainer of one process


def places_of(cfg: config.Config) -> list[Place]:
    """Return where processes of a run may work: a GPU each, or the CPU.

    ``trainer.devices=auto`` gives one GPU; on a CPU, a place for each thread that this process
    would use, or one if ``threads`` is set, for who sets it wants no more than that.

    Raises:
        UserError: If Lightning rejects the devices.
    """
    automatic = cfg.trainer.devices == AUTO
    trainer = trainer_of(cfg, **({"devices": 1} if automatic else {}))
    if trainer.strategy.root_device.type != "cpu":
        return [[index] for index in trainer.device_ids]
    if not automatic:
        return [1] * trainer.num_devices
    return [1] * (torch.get_num_threads() if cfg.threads is None else 1)


def run_processes(
    work: Callable[..., None], shares: Sequence[Sequence[Any]], *, watch: Callable[[], None]
) -> None:
    """Call ``work(*share)`` for every share, each in a process of its own, and wait for all.

    Processes divide the threads of this one evenly. They end with this one, however it ends; what
    they log is logged here, each message once.

    Args:
        work: a function of a module; it writes its results to files.
        shares: its arguments, which can be pickled.
        watch: called now and then while the processes work.
    Raises:
        UserError: That of the first process that fails with one, or if a process is killed.
        RuntimeError: If a process fails otherwise; it prints its traceback.
    """
    threads = max(1, torch.get_num_threads() // len(shares))
    processes: dict[Connection, BaseProcess] = {}
    told: set[str] = set()
    resource_tracker.ensure_running()  # or the first start would, and let signals through
    try:
        for _ in shares:
            with signals_wait():
                pipe, process = _start(threads)
                processes[pipe] = process
        # As bytes: tensors on their own would go through shared memory, of which little may be.
        packed = {
            pipe: pickle.dumps((work, tuple(share)))
            for pipe, share in zip(processes, shares, strict=True)
        }
        left = list(processes)
        while left:
            ready = wait(left, POLL_S)
            for pipe in [pipe for pipe in left if pipe in ready]:
                if not _listen(pipe, told, packed[pipe]):
                    _check_end(processes[pipe])
                    left.remove(pipe)
            watch()
    finally:
        for process in processes.values():
            process.kill()  # files are written whole or not at all
            process.join()


def _start(threads: int) -> tuple[Connection, BaseProcess]:
    """Start a process, which asks for its share once it has imported what it needs."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(threads, theirs), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _listen(pipe: Connection, told: set[str], packed: bytes) -> bool:
    """Log or raise what a process says, or give it its share; return False once it has ended."""
    try:
        message = pipe.recv()
        if message == READY:
            pipe.send_bytes(packed)
            return True
    except (EOFError, ConnectionError):
        return False
    name, level, text = message
    if level is None:
        raise UserError(text)
    if text not in told:
        told.add(text)
        logging.getLogger(name).log(level, "%s", text)
    return True


def _check_end(process: BaseProcess) -> None:
    process.join()
    code = process.exitcode or 0
    if code < 0:
        raise UserError(
            f"a process of this run was ended by {signal.Signals(-code).name}: if memory ran out, "
            "take fewer of them (trainer.devices=1); start again to continue"
        )
    if code:
        raise RuntimeError("a process of this run failed, see above")


def _run(threads: int, pipe: Connection) -> None:
    """Do a share of the work in a process started for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the starter gets it too, and ends this process
    signals_go()
    Thread(target=_end_with_starter, daemon=True).start()
    torch.set_num_threads(threads)
    logger = logging.getLogger("metadip")
    logger.setLevel(logging.INFO)
    logger.addHandler(_Tell(pipe))
    pipe.send(READY)
    work, share = pickle.loads(pipe.recv_bytes())
    try:
        work(*share)
    except UserError as error:
        pipe.send((None, None, str(error)))
        sys.exit(2)


def _end_with_starter() -> None:
    """End this process once its starter is gone, even if that was killed.

    It would keep writing into a run folder that the user may already use for a new run.
    """
    starter = parent_process()
    assert starter is not None
    starter.join()
    os._exit(1)


class _Tell(logging.Handler):
    """Send what is logged to the starter."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self.pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        self.pipe.send((record.name, record.levelno, record.getMessage()))
