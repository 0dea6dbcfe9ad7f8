"""End a run that is told to stop, by SIGTERM or Ctrl-C, with what is done kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """Raised where the program was when a signal arrived.

    As a ``SystemExit`` it passes every ``except Exception``, and ends a worker process quietly.

    Args:
        number: of the signal; the exit code is 128 + number, as usual.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number, self.name = number, signal.Signals(number).name


def stop_at_once(number: int, frame: Any = None) -> None:
    """Handle a signal by raising ``Stopped``."""
    raise Stopped(number)


def handle(
    handler: Callable[[int, Any], None] = stop_at_once,
    numbers: Sequence[signal.Signals] = STOPPING,
) -> None:
    """Handle signals; only the main thread can, in others this does nothing."""
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            signal.signal(number, handler)


@contextmanager
def signals_stop() -> Iterator[None]:
    """Raise ``Stopped`` in the block when a signal arrives; afterwards, handlers are as before."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    handle()
    try:
        yield
    finally:
        for number, handler in before.items():
            handle(handler, [number])  # type: ignore[arg-type]  # what getsignal gave


@contextmanager
def signals_wait() -> Iterator[None]:
    """Hold signals back until the block has ended.

    A process started in the block begins with its signals held back, see ``signals_go``: while it
    imports, Ctrl-C is for its starter alone.
    """
    arrived: list[int] = []
    before = {number: signal.getsignal(number) for number in STOPPING}
    handle(lambda number, _: arrived.append(number))  # other threads may still get them
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in before.items():
            handle(handler, [number])  # type: ignore[arg-type]  # what getsignal gave
        for again in arrived:
            os.kill(os.getpid(), again)


def signals_go() -> None:
    """Let the signals come that the starter of this process held back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
