"""Time a fit step as ``infer.py`` runs it against a bare loop of the same network.

``python benchmarks/fit_step.py --json`` prints a table, then one line of JSON whose
``overhead_plain`` is the time per step of a MetaDIP fit over that of the bare loop: forward, mean
squared error, backward, update by ``torch.optim``, nothing else. The fit has all that a user gets:
total variation, operator, hooks for PSNR and progress, the last look, per-tensor step sizes.
Vanilla DIP brings jitter and averaging besides; its bare loop has neither.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from metadip import config
from metadip.callbacks import FitProgress, OraclePSNR
from metadip.methods import FitReconstructor
from metadip.report import markdown_table
from metadip.types import InverseProblem

PRIORS = {"small": "skip_unet_small", "dip": "skip_unet"}
Update = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class Timing(NamedTuple):
    """Time per step, in ms, by the wall clock and of this process alone."""

    wall_ms: float
    cpu_ms: float


class Contest(NamedTuple):
    """One method and the bare loop it is held against."""

    name: str
    method: FitReconstructor
    update: Update


def contests(prior: str, steps: int) -> list[Contest]:
    """Build MetaDIP with an untrained prior, whose steps cost the same, and vanilla DIP."""
    choice = f"prior={PRIORS[prior]}"
    cfg = config.compose("train", [choice])
    learned = config.build(cfg.prior)
    learned.learned = True
    rule = config.build(cfg.optimizer, network=learned.network).requires_grad_(False)
    objective = config.build(cfg.objective)
    metadip = FitReconstructor(learned, objective=objective, optimizer=rule, steps=steps)
    infer = config.compose("infer", ["method=dip", choice, f"method.steps={steps}"])
    dip = config.build(infer.method)
    dip.callbacks = [config.build(node) for node in infer.callbacks.values()]
    lr, momentum = cfg.optimizer.lr, cfg.optimizer.momentum
    return [
        Contest("metadip", metadip, lambda p: torch.optim.SGD(p, lr=lr, momentum=momentum)),
        Contest("dip", dip, lambda p: torch.optim.Adam(p, lr=infer.optimizer.lr)),
    ]


def make_problem(size_px: int) -> InverseProblem:
    """Return a denoising problem of a random colour image."""
    x = torch.rand(1, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    problem: InverseProblem = config.build(config.compose("infer").task).measure(x, seed=0)
    return problem


def run_fit(method: FitReconstructor, problem: InverseProblem) -> None:
    """Fit once with the hooks of ``infer.py``."""
    result = method.reconstruct(
        [problem], hooks=[OraclePSNR(), FitProgress(refresh_steps=1, leave=False)]
    )[0]
    if result.steps != method.steps:
        raise RuntimeError(f"the fit ended at step {result.steps}: {result.stop_reason}")


def run_bare(network: nn.Module, z: Tensor, y: Tensor, update: Update, steps: int) -> None:
    """Step a copy of the network with PyTorch alone."""
    network = copy.deepcopy(network)
    optimizer = update(list(network.parameters()))
    for _ in range(steps):
        optimizer.zero_grad()
        loss: Tensor = F.mse_loss(network(z), y)
        loss.backward()
        optimizer.step()


def timed(work: Callable[[], None], steps: int) -> Timing:
    """Return the time per step of ``work``."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Timing(1000 * wall / steps, 1000 * cpu / steps)


def compare(
    contest: Contest, problem: InverseProblem, *, steps: int, rounds: int
) -> dict[str, float]:
    """Run fit and bare loop in turn; return medians, the ratios being those of each round."""
    network = copy.deepcopy(contest.method.prior.network).to(memory_format=torch.channels_last)
    z = contest.method.prior.start(problem.image_shape, seed=0)[1]
    z = z.to(memory_format=torch.channels_last)
    works: dict[str, Callable[[], None]] = {
        "fit": lambda: run_fit(contest.method, problem),
        "bare": lambda: run_bare(network, z, problem.y, contest.update, steps),
    }
    for work in works.values():  # warm-up
        work()
    timings: dict[str, list[Timing]] = {name: [] for name in works}
    for number in tqdm(range(rounds), desc=contest.name, unit="round", leave=False, disable=None):
        for name in sorted(works, reverse=bool(number % 2)):  # neither always goes first
            timings[name].append(timed(works[name], steps))
    pairs = list(zip(timings["fit"], timings["bare"], strict=True))
    return {
        "fit_ms": statistics.median(t.wall_ms for t in timings["fit"]),
        "bare_ms": statistics.median(t.wall_ms for t in timings["bare"]),
        "overhead": statistics.median(fit.wall_ms / bare.wall_ms for fit, bare in pairs),
        "overhead_cpu": statistics.median(fit.cpu_ms / bare.cpu_ms for fit, bare in pairs),
    }


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what the JSON line holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="side of the image, px")
    parser.add_argument("--steps", type=int, default=50, help="steps per run")
    parser.add_argument("--rounds", type=int, default=11, help="runs of each, in turn")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; default: its own choice")
    parser.add_argument("--prior", choices=PRIORS, default="small", help="network")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args(argv)
    if min(options.size, options.steps, options.rounds, options.threads or 1) < 1:
        parser.error("--size, --steps, --rounds and --threads must be at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    problem = make_problem(options.size)
    rows = {
        contest.name: compare(contest, problem, steps=options.steps, rounds=options.rounds)
        for contest in contests(options.prior, options.steps)
    }
    titles = {
        "method": "method", "fit_ms": "fit (ms/step)", "bare_ms": "bare loop (ms/step)",
        "overhead": "ratio", "overhead_cpu": "ratio of CPU time",
    }  # fmt: skip
    table = [{"method": name, **row} for name, row in rows.items()]
    print(markdown_table(table, titles, {key: ".3f" for key in titles if key != "method"}))
    content: dict[str, object] = {
        "overhead_plain": round(rows["metadip"]["overhead"], 4),
        "overhead_dip": round(rows["dip"]["overhead"], 4),
        "methods": {n: {k: round(v, 4) for k, v in row.items()} for n, row in rows.items()},
        **{k: v for k, v in vars(options).items() if k != "json"},
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }
    if options.json:
        print(json.dumps(content))
    return content


if __name__ == "__main__":
    main()
