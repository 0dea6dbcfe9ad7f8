"""Run scripts that start processes of their own; none of them outlives its test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

TIMEOUT_S = 900  # seconds on an idle machine; the imports alone take minutes on a very busy one


@contextmanager
def launched(
    name: str, arguments: Sequence[str], folder: Path, *, errors: int | IO[str] = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """Start module ``name`` in ``folder``; whatever is left of it ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", name, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until ``condition()``, failing if the process ends before or time is up."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)


def run_script(name: str, *arguments: str, folder: Path) -> str:
    """Run module ``name`` from ``folder`` and return what it and its processes printed."""
    script = subprocess.Popen(
        [sys.executable, "-m", name, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = script.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(script.pid, signal.SIGKILL)  # with the processes that it started
        raise
    assert script.returncode == 0, output[-3000:]
    return output
