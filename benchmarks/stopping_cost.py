"""Time what a stopping rule adds to a step of a fit, by image size.

``python benchmarks/stopping_cost.py --out stopping_cost.csv`` prints a table and writes it: the
median over ``--steps`` steps on one colour image, after the rule has filled its window, and what a
step of vanilla DIP with the small network takes beside it. Each rule has the settings of its file
in ``conf/callbacks``; SV-ES, which trains an autoencoder at every step, is timed up to 128 px.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metadip.command_line import set_thread_policy

set_thread_policy()  # before torch is imported

import torch  # noqa: E402
from loops import dip_of, make_problem  # noqa: E402
from tqdm import tqdm  # noqa: E402

from metadip import config  # noqa: E402
from metadip.report import markdown_table, write_csv  # noqa: E402
from metadip.types import Estimate, FitState  # noqa: E402

WINDOWS = {"es_wmv": 100, "es_emv": 101, "sv_es": 256}  # steps before the rule judges each one
SV_ES_UP_TO_PX = 128
TITLES = {"rule": "rule", "size_px": "px", "rule_ms": "ms per step", "dip_ms": "DIP, ms per step"}


def rule_ms(name: str, size_px: int, steps: int) -> float:
    """Return the median time of a rule in a step, ms."""
    hook: Any = config.build(
        config.compose("infer", ["method=dip", f"callbacks={name}"]).callbacks[name]
    )
    problem = make_problem(size_px)
    state = FitState(
        problems=[problem], n_steps=WINDOWS[name] + steps, active=torch.arange(1), inputs={},
        generators=[torch.Generator().manual_seed(0)], output=torch.zeros(1, *problem.image_shape),
        again=lambda **_: Estimate(state.x_hat),
    )  # fmt: skip
    hook.on_reconstruction_start(state)
    seconds = []
    for state.step in range(WINDOWS[name] + steps):
        state.x_hat = 0.5 + 0.1 * torch.randn(1, *problem.image_shape)
        state.loss, state.taken_back = torch.ones(1), {}
        begin = time.perf_counter()
        hook.on_step_end(state)
        seconds.append(time.perf_counter() - begin)
    return 1000 * statistics.median(seconds[-steps:])


def dip_ms(size_px: int, steps: int) -> float:
    """Return the time of a step of DIP, ms."""
    problem = make_problem(size_px)
    dip_of("small", 1, "callbacks=none").reconstruct([problem])  # warm-up
    method = dip_of("small", steps, "callbacks=none")
    begin = time.perf_counter()
    method.reconstruct([problem])
    return 1000 * (time.perf_counter() - begin) / steps


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print, write; return the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 512], help="sides, px")
    parser.add_argument("--rules", nargs="+", choices=WINDOWS, default=list(WINDOWS))
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a CSV file")
    options = parser.parse_args(argv)
    if min(*options.sizes, options.steps, options.threads) < 1:
        parser.error("--sizes, --steps and --threads must be at least 1")
    torch.set_num_threads(options.threads)
    jobs = [
        (rule, size_px)
        for size_px in options.sizes
        for rule in options.rules
        if rule != "sv_es" or size_px <= SV_ES_UP_TO_PX
    ]
    beside = {size_px: dip_ms(size_px, options.steps) for size_px in options.sizes}
    rows: list[dict[str, Any]] = []
    for rule, size_px in tqdm(jobs, unit="rule", leave=False, disable=None):
        cost = rule_ms(rule, size_px, 2 if rule == "sv_es" else options.steps)
        rows.append({"rule": rule, "size_px": size_px, "rule_ms": cost, "dip_ms": beside[size_px]})
        if options.out:
            write_csv(options.out, rows, list(TITLES))
    print(markdown_table(rows, TITLES, {"rule_ms": ".3g", "dip_ms": ".3g"}))
    return rows


if __name__ == "__main__":
    main()
