"""Compare the engines of meta-training: their gradients, their memory, their time.

    python benchmarks/meta_engine.py --json
    python benchmarks/meta_engine.py --device cuda --tasks 16 --compile cudagraphs --json

The last line is JSON. ``stored`` is the functional engine with the graphs of all inner steps kept.

Gradients: K steps at step size 0.01 and momentum 0.5 in float64, the distance of all meta-gradients
together (weights, latent, step sizes, momentum) over their length. At the step sizes of training,
rounding alone changes a float32 meta-gradient. Mixed precision is assessed at these small step
sizes too: the cosine between the float32 gradient and the one with bfloat16 inside the network.

Memory: the peak of one outer step above the idle process, in a fresh process for each engine, which
goes through increasing K. Idle means: everything is built, one outer step with K = 1 is done
(neither libraries nor what PyTorch keeps from its first call are counted), and free memory has been
returned (measured by ``peak.py``).

Time: one outer step, forward and backward, in one process, the engines taking turns; the median
over rounds, also of the ratios. CPU time is less affected by other work on the machine.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from operator import truediv
from pathlib import Path
from typing import Any, NamedTuple

import torch
from outer_step import ENGINES, build, wait
from peak import MALLOC, MIB, peak_bytes
from result_records import record
from tqdm import tqdm

from metadip.report import atomic_path, markdown_table, write_csv

GRADIENT_SIZE_PX = 32
QUICK = {"size": 16, "inner_steps": 3, "curve": [3, 6], "tasks": 1, "rounds": 1}
# The meta-gradient is not yet chaotic here; the latent learns too.
GENTLE = ["optimizer.lr=0.01", "optimizer.momentum=0.5", "outer.latent_lr=0.001"]


class Timing(NamedTuple):
    """Seconds per task: wall-clock time, and CPU time of this process."""

    wall: float
    cpu: float


def gradient_differences(options: argparse.Namespace) -> dict[str, float]:
    """Return ||g - g_learn2learn|| / ||g_learn2learn|| in float64, by engine."""
    found = {
        engine: build(
            engine, options.inner_steps, options, overrides=GENTLE,
            size_px=min(GRADIENT_SIZE_PX, options.size), dtype=torch.float64,
        ).gradient()
        for engine in ENGINES
    }  # fmt: skip
    exact = found.pop("learn2learn")
    return {engine: float((g - exact).norm() / exact.norm()) for engine, g in found.items()}


def mixed_precision_cosine(options: argparse.Namespace) -> float:
    """Return the cosine between the float32 gradient and the one under bfloat16 autocast."""
    outer_step = build("functional", options.inner_steps, options, overrides=GENTLE)
    exact = outer_step.gradient()
    with torch.autocast(torch.device(options.device).type, torch.bfloat16):
        mixed = outer_step.gradient()
    return float(torch.nn.functional.cosine_similarity(exact, mixed, dim=0))


def times(options: argparse.Namespace) -> dict[str, list[Timing]]:
    """Return the time per task of each engine in each round."""
    outer_steps = {name: build(name, options.inner_steps, options) for name in ENGINES}
    for outer_step in outer_steps.values():  # warm-up
        outer_step.gradient()
    timings: dict[str, list[Timing]] = {name: [] for name in outer_steps}
    for number in tqdm(range(options.rounds), desc="time", unit="round", disable=None):
        for name in sorted(outer_steps, reverse=bool(number % 2)):  # no engine always goes first
            wait(options.device)
            wall, cpu = time.perf_counter(), time.process_time()
            outer_steps[name].gradient()
            wait(options.device)
            spent = time.perf_counter() - wall, time.process_time() - cpu
            timings[name].append(Timing(*(seconds / options.tasks for seconds in spent)))
    return timings


def peaks_mib(engine: str, options: argparse.Namespace) -> dict[int, float]:
    """Return the peak memory of one outer step above the idle process, in MiB, for each K."""
    build(engine, 1, options).gradient()
    peaks = {}
    for k in sorted(options.curve):
        outer_step = build(engine, k, options)
        gc.collect()
        peaks[k] = round(peak_bytes(outer_step.gradient, torch.device(options.device)) / MIB, 1)
    return peaks


def memory_curves(options: argparse.Namespace) -> dict[str, dict[int, float]]:
    """Measure each engine in a separate process; with all graphs kept, only at one K."""
    curves = {}
    for engine in tqdm(ENGINES, desc="memory", unit="process", disable=None):
        lengths = {options.inner_steps, *(options.curve if engine != "stored" else [])}
        command = [
            sys.executable, __file__, "--probe", engine, "--curve", *map(str, sorted(lengths)),
            "--size", str(options.size), "--tasks", str(options.tasks),
            "--threads", str(torch.get_num_threads()), "--device", options.device,
        ]  # fmt: skip
        output = subprocess.run(
            command, env={**os.environ, **MALLOC}, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        found: dict[str, float] = json.loads(output.splitlines()[-1])
        curves[engine] = {int(k): mib for k, mib in found.items()}
    return curves


def draw(path: Path, curves: dict[str, dict[int, float]], title: str) -> None:
    """Save a plot of memory over K."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from metadip.report.figures import BLUE, DPI, GREY, ORANGE, STYLE

    colours = {"learn2learn": ORANGE, "functional": BLUE, "stored": GREY}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.5, 3.2), dpi=DPI, layout="constrained", facecolor="white")
        ax = figure.subplots()
        for engine, curve in curves.items():
            label, colour = engine.replace("stored", "functional, graphs kept"), colours[engine]
            ax.plot(list(curve), list(curve.values()), "o-", color=colour, label=label)
        ax.set(xlabel="inner steps K", ylabel="peak above idle (MiB)", ylim=(0, None), title=title)
        ax.legend()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png")


def write(out: Path, content: Mapping[str, Any]) -> None:
    """Write the content of the JSON line as CSVs, with their records."""
    ratios = [{"name": k, "value": v} for k, v in content.items() if isinstance(v, float)]
    memory: dict[str, dict[int, float]] = content["memory_mib"]
    curve = [
        {"inner_steps": k, **{f"{e}_mib": c.get(k) for e, c in memory.items()}}
        for k in memory["functional"]
    ]
    told = ("size", "inner_steps", "tasks", "rounds", "threads")
    flags = " ".join(f"--{name.replace('_', '-')} {content[name]}" for name in told)
    for name, rows in (("meta_engine", ratios), ("meta_engine_memory", curve)):
        write_csv(out / f"{name}.csv", rows)
        record(out / f"{name}.csv", f"python benchmarks/meta_engine.py {flags}")


def summary(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything; return the content of the JSON line."""
    k, longest = options.inner_steps, max(options.inner_steps, *options.curve)
    differences, cosine = gradient_differences(options), mixed_precision_cosine(options)
    timings = times(options)
    memory = memory_curves(options)

    def time_ratio(engine: str, clock: str) -> float:
        own, other = ([getattr(t, clock) for t in timings[e]] for e in (engine, "learn2learn"))
        return round(float(statistics.median(map(truediv, own, other))), 4)

    def memory_ratio(engine: str, steps: int) -> float:
        return round(memory[engine][steps] / memory["learn2learn"][k], 4)

    return {
        "grad_rel_diff_float64": differences["functional"],
        "grad_rel_diff_float64_stored": differences["stored"],
        "grad_cosine_bf16_mixed": cosine,
        f"memory_ratio_k{k}": memory_ratio("functional", k),
        f"memory_ratio_k{k}_stored": memory_ratio("stored", k),
        f"memory_k{longest}_over_learn2learn_k{k}": memory_ratio("functional", longest),
        f"time_ratio_k{k}": time_ratio("functional", "wall"),
        f"time_ratio_k{k}_stored": time_ratio("stored", "wall"),
        f"cpu_time_ratio_k{k}": time_ratio("functional", "cpu"),
        f"cpu_time_ratio_k{k}_stored": time_ratio("stored", "cpu"),
        "memory_mib": memory,
        "s_per_task": {n: statistics.median(t.wall for t in ts) for n, ts in timings.items()},
        **{n: getattr(options, n) for n in ("size", "inner_steps", "tasks", "rounds", "device")},
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inner-steps", type=int, default=20, help="K of gradients and times")
    parser.add_argument(
        "--curve", type=int, nargs="+", default=[5, 10, 20, 50, 100], help="K of the memory curve"
    )
    parser.add_argument("--size", type=int, default=64, help="side of the images, px")
    parser.add_argument("--tasks", type=int, default=1, help="tasks per outer step")
    parser.add_argument("--rounds", type=int, default=5, help="timed outer steps of each engine")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; default: its own choice")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, help="folder of two CSVs: numbers, and memory over K")
    parser.add_argument("--picture", type=Path, help="PNG of memory over K")
    parser.add_argument("--quick", action="store_true", help="small and short: no results")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--probe", choices=ENGINES, help=argparse.SUPPRESS)  # of memory
    options = parser.parse_args(argv)
    if options.quick:
        vars(options).update(QUICK)
    counts = [options.inner_steps, options.size, options.tasks, options.rounds]
    if min(*counts, *options.curve, options.threads or 1) < 1:
        parser.error("--inner-steps, --curve, --size, --tasks, --rounds, --threads: at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parse(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.probe:
        print(json.dumps(peaks_mib(options.probe, options)))
        return
    content = summary(options)
    memory: dict[str, dict[int, float]] = content["memory_mib"]
    rows = [{"K": k, **{e: c.get(k) for e, c in memory.items()}} for k in memory["functional"]]
    print("Peak memory of an outer step above the idle process (MiB)")
    print(markdown_table(rows, {name: name for name in rows[0]}, dict.fromkeys(ENGINES, ".0f")))
    if options.out:
        write(options.out, content)
    if options.picture:
        draw(options.picture, memory, f"{options.size} px, tasks at a time: {options.tasks}")
    if options.json:
        print(json.dumps(content))


if __name__ == "__main__":
    main()
