"""End a run that is told to stop, by SIGTERM or Ctrl-C, with what is done kept."""

from __future__ import annotations

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
