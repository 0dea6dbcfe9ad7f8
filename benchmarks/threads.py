"""Time fits by size, number of threads and busy neighbours, to choose the number of threads.

``python benchmarks/threads.py --out threads.csv`` prints a table and writes it. A neighbour is a
process that keeps one core busy. Waiting threads sleep, as in the scripts, unless the environment
says otherwise (``OMP_WAIT_POLICY=ACTIVE``). Times are per step of vanilla DIP with the small
network: wall-clock time, and processor time of this process. The number of threads that
``infer.py`` takes without ``threads=`` is marked by a star.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from metadip.command_line import set_thread_policy

set_thread_policy()  # before torch is imported

import torch  # noqa: E402
from loops import dip_of, make_problem  # noqa: E402
from tqdm import tqdm  # noqa: E402

from metadip.report import markdown_table, write_csv  # noqa: E402
from metadip.runs.process import threads_of_size  # noqa: E402

QUICK = {"size": [32, 64], "threads": [1, 2], "neighbours": [0], "steps": 5}
TITLES = {
    "size_px": "px", "threads": "threads", "neighbours": "busy neighbours",
    "wall_ms": "ms per step", "cpu_ms": "processor ms per step", "default": "default",
}  # fmt: skip


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep ``count`` other processes busy."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def time_of(size_px: int, threads: int, steps: int) -> tuple[float, float]:
    """Return wall-clock and processor time of a step, ms."""
    torch.set_num_threads(threads)
    method, problem = dip_of("small", steps, "callbacks=none"), make_problem(size_px)
    dip_of("small", 1, "callbacks=none").reconstruct([problem])  # warm-up
    wall, cpu = time.perf_counter(), time.process_time()
    method.reconstruct([problem])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return 1000 * wall / steps, 1000 * cpu / steps


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--size", type=int, nargs="+", default=[64, 128, 256, 512], help="sides, px"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=20, help="steps per fit")
    parser.add_argument("--quick", action="store_true", help="two small sizes and few steps")
    parser.add_argument("--out", type=Path, help="CSV to write")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args(argv)
    if options.quick:
        vars(options).update(QUICK)
    if min(*options.size, *options.threads, options.steps) < 1 or min(options.neighbours) < 0:
        parser.error("--size, --threads and --steps must be at least 1, --neighbours at least 0")
    return options


def main(argv: Sequence[str] | None = None) -> list[dict[str, float | str]]:
    """Measure, print, and return the rows of the table."""
    options = parse(argv)
    jobs = [(n, s, t) for n in options.neighbours for s in options.size for t in options.threads]
    rows: list[dict[str, float | str]] = []
    for neighbours, size_px, threads in tqdm(jobs, unit="fit", leave=False, disable=None):
        with busy(neighbours):
            wall_ms, cpu_ms = time_of(size_px, threads, options.steps)
        usual = threads_of_size(size_px, available=max(options.threads))
        rows.append({
            "size_px": size_px, "threads": threads, "neighbours": neighbours,
            "wall_ms": wall_ms, "cpu_ms": cpu_ms, "default": "*" if threads == usual else "",
        })  # fmt: skip
        if options.out:  # as they come: neighbours make it long
            write_csv(options.out, rows)
    print(markdown_table(rows, TITLES, {"wall_ms": ".1f", "cpu_ms": ".1f"}))
    if options.json:
        machine = {
            "machine": f"{platform.system()} {platform.machine()}",
            "torch": torch.__version__,
        }
        print(json.dumps({"rows": rows, "steps": options.steps, **machine}))
    return rows


if __name__ == "__main__":
    main()
