"""Run a script of the tests that starts processes of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 900  # seconds on an idle machine; the imports alone take minutes on a very busy one


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
