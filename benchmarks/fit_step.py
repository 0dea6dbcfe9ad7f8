"""Time a fit step as run by ``infer.py`` against other loops with the same network.

``python benchmarks/fit_step.py --json`` prints tables, then one line of JSON. All loops of a row
run in turn, in one process; a ratio is the median over rounds of the ratio within each round.

- ``overhead_*``: a fit over the bare loop of its network (forward, mean squared error, backward,
  update by ``torch.optim``, channels-last), the largest over the sizes. ``plain`` fits without
  hooks except PSNR and progress, which ``infer.py`` always has; ``dip`` has jitter and averaging,
  ``es_emv`` and ``es_wmv`` jitter and the rule; ``metadip`` total variation and per-tensor sizes.
- ``bf16_time_ratio``: a fit in bf16, channels-last, over the bare loop in plain float32, at 128 px;
  ``bf16_psnr_cost_db``: what bf16 costs MetaDIP after 50 steps, the mean over built-in images.
- ``deepinv_step_ratio``: our vanilla DIP over the loop of deepinv's ``DeepImagePrior`` on the same
  network with the same jitter, at 128 px. ``--to-psnr-steps N`` also lets both run N steps and
  compares the seconds to the best PSNR that deepinv's reaches.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from loops import Work, bare_work, deepinv_dip, dip_of, fit_work, make_problem, metadip_of
from torch import Tensor
from tqdm import tqdm

from metadip import config
from metadip.callbacks import OraclePSNR
from metadip.data import SampleKey, SamplePatches
from metadip.report import markdown_table, psnr_db
from metadip.runs import build_method
from metadip.runs.process import SLOW_BF16, bf16_ratio
from metadip.types import InverseProblem

FITS = {
    "plain": ("callbacks=none",),
    "dip": (),
    "es_emv": ("callbacks=es_emv",),
    "es_wmv": ("callbacks=es_wmv",),
}
QUALITY_STEPS = {"metadip": 50, "dip": 300}
QUICK = {"size": [32], "steps": 5, "rounds": 1, "small_only": True, "quality_count": 1}
QUICK_QUALITY_STEPS = {"metadip": 5, "dip": 10}


class Timing(NamedTuple):
    """Time per step in ms: wall-clock time, and CPU time of this process."""

    wall_ms: float
    cpu_ms: float


class Race(NamedTuple):
    """Several loops that were timed in turn."""

    timings: Mapping[str, Sequence[Timing]]

    def ms(self, name: str) -> float:
        """Return the median time per step."""
        return statistics.median(t.wall_ms for t in self.timings[name])

    def ratio(self, name: str, other: str, *, cpu: bool = False) -> float:
        """Return the median over rounds of the ratio of two loops."""
        pairs = zip(self.timings[name], self.timings[other], strict=True)
        return statistics.median(a[cpu] / b[cpu] for a, b in pairs)


def race(works: Mapping[str, Work], *, steps: int, rounds: int, title: str) -> Race:
    """Time every loop in each round; each round begins with a different loop than the last."""
    for work in works.values():  # warm-up
        work()
    names = list(works)
    timings: dict[str, list[Timing]] = {name: [] for name in works}
    for number in tqdm(range(rounds), desc=title, unit="round", leave=False, disable=None):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            wall, cpu = time.perf_counter(), time.process_time()
            works[name]()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            timings[name].append(Timing(1000 * wall / steps, 1000 * cpu / steps))
    return Race(timings)


def race_of(prior: str, size_px: int, options: argparse.Namespace) -> Race:
    """Time all loops of one network at one size."""
    problem = make_problem(size_px)
    steps = options.steps if prior == "small" else max(1, options.steps // 4)
    fits = {name: dip_of(prior, steps, *extra) for name, extra in FITS.items()}
    if has_bf16():
        fits["bf16"] = dip_of(prior, steps, "callbacks=none", "fit.precision=bf16")
    works = {name: fit_work(method, problem) for name, method in fits.items()}
    adam = partial(torch.optim.Adam, lr=0.01)
    sgd = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
    plain, metadip = fits["plain"], metadip_of(prior, steps)
    works["bare"] = bare_work(plain, problem, adam, torch.channels_last)
    works["bare_float32"] = bare_work(plain, problem, adam, torch.contiguous_format)
    if prior == "small":
        works["metadip"] = fit_work(metadip, problem)
        works["bare_sgd"] = bare_work(metadip, problem, sgd, torch.channels_last)
    works["deepinv"] = lambda: deepinv_dip(plain, problem)[0](problem.y, problem.physics)
    return race(works, steps=steps, rounds=options.rounds, title=f"{prior} {size_px} px")


def has_bf16() -> bool:
    """Return whether the CPU computes in bf16; where it does not, bf16 is left out."""
    return bf16_ratio() <= SLOW_BF16


def built_in_problems(size_px: int, count: int) -> list[InverseProblem]:
    """Return denoising problems of patches of images that come with scikit-image."""
    patches = SamplePatches(split="val", size_px=size_px, flip=False, seed=0)
    task = config.build(config.compose("infer").task)
    count = min(count, len(patches))
    return [task.measure(patches[SampleKey(0, i)].x[None], seed=i) for i in range(count)]


def quality_db(x_hat: Tensor, problem: InverseProblem) -> float:
    """Return the PSNR of a reconstruction."""
    assert problem.x is not None
    return psnr_db(x_hat, problem.x).item()


def bf16_costs_db(count: int, lengths: Mapping[str, int]) -> dict[str, float]:
    """Return the mean PSNR that bf16 loses, at the last step of MetaDIP and of averaged DIP."""
    problems, costs = built_in_problems(64, count), {}
    for name, steps in lengths.items():
        settings = [f"method={name}", f"fit.steps={steps}"]
        psnr = {}
        for precision in ("32", "bf16"):
            chosen = [*settings, f"fit.precision={precision}"]
            cfg = config.compose("infer", chosen, shared=["prior=skip_unet_small"])  # for DIP
            results = build_method(cfg).reconstruct(problems)
            pairs = zip(results, problems, strict=True)
            psnr[precision] = statistics.fmean(quality_db(r.x_hat, p) for r, p in pairs)
        costs[name] = psnr["32"] - psnr["bf16"]
    return costs


def to_the_same_psnr(steps: int, step_ratio: float) -> dict[str, float]:
    """Run both loops on a built-in image; compare the time to reach deepinv's best PSNR."""
    (problem,), method = built_in_problems(128, 1), dip_of("dip", steps)
    loop, network = deepinv_dip(method, problem)
    network.images = []
    loop(problem.y, problem.physics)
    theirs = [quality_db(x_hat, problem) for x_hat in network.images]
    ours = method.reconstruct([problem], hooks=[OraclePSNR()])[0].curves["psnr_db"].tolist()
    reached = next((k for k, value in enumerate(ours) if value >= max(theirs)), math.nan)
    best_step = theirs.index(max(theirs))
    return {
        "deepinv_best_psnr_db": max(theirs),
        "deepinv_best_step": best_step,
        "our_best_psnr_db": max(ours),
        "our_step_at_deepinv_best": reached,
        "time_ratio_to_same_psnr": step_ratio * reached / best_step,
    }


def over_bare(race: Race, name: str, *, cpu: bool = False) -> float:
    """Return the time of a loop over that of the bare loop with the same update rule."""
    return race.ratio(name, "bare_sgd" if name == "metadip" else "bare", cpu=cpu)


def figures_of(races: Mapping[tuple[str, int], Race]) -> dict[str, float]:
    """Return the ratios for the JSON line."""
    small = [race for (prior, _), race in races.items() if prior == "small"]
    figures = {
        f"overhead_{name}": max(over_bare(race, name) for race in small)
        for name in (*FITS, "metadip")
    }
    largest = {prior: race for (prior, _), race in sorted(races.items(), key=lambda r: r[0][1])}
    for prior, race in largest.items():
        suffix = "" if prior == "small" else "_big"
        if "bf16" not in race.timings:
            continue
        figures[f"bf16_time_ratio{suffix}"] = race.ratio("bf16", "bare_float32")
        figures[f"bf16_over_our_float32{suffix}"] = race.ratio("bf16", "plain")
    last = largest.get("dip", largest["small"])
    return figures | {"deepinv_step_ratio": last.ratio("dip", "deepinv")}


def print_tables(races: Mapping[tuple[str, int], Race]) -> None:
    """Print a row per loop."""
    rows = [
        {"network": prior, "px": size, "loop": name, "ms": race.ms(name),
         "ratio": over_bare(race, name), "cpu": over_bare(race, name, cpu=True)}
        for (prior, size), race in races.items() for name in race.timings
    ]  # fmt: skip
    titles = {"network": "network", "px": "px", "loop": "loop", "ms": "ms per step",
              "ratio": "over the bare loop", "cpu": "of CPU time"}  # fmt: skip
    print(markdown_table(rows, titles, {"ms": ".2f", "ratio": ".3f", "cpu": ".3f"}))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, nargs="+", default=[64, 128], help="sides, px")
    parser.add_argument("--steps", type=int, default=50,
                        help="steps per run; a quarter of them with the big network")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turn")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; default: its own choice")
    parser.add_argument("--small-only", action="store_true", help="leave the big network out")
    parser.add_argument("--quality-count", type=int, default=4, help="pictures for bf16's cost")
    parser.add_argument("--to-psnr-steps", type=int, default=0, help="0 leaves this part out")
    parser.add_argument("--quick", action="store_true", help="small sizes, few steps: no results")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args(argv)
    if options.quick:
        vars(options).update(QUICK)
    least = min(*options.size, options.steps, options.rounds, options.threads or 1)
    if min(least, options.quality_count) < 1 or options.to_psnr_steps < 0:
        parser.error("sizes, --steps, --rounds, --quality-count and --threads must be at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return the content of the JSON line."""
    options = parse(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    jobs = [("small", size) for size in options.size]
    jobs += [] if options.small_only else [("dip", max(options.size))]
    races = {job: race_of(*job, options) for job in jobs}
    print_tables(races)
    figures = figures_of(races)
    if has_bf16():
        lengths = QUICK_QUALITY_STEPS if options.quick else QUALITY_STEPS
        costs = bf16_costs_db(options.quality_count, lengths)
        figures |= {"bf16_psnr_cost_db": costs["metadip"], "bf16_psnr_cost_dip_db": costs["dip"]}
    else:
        print(f"without bf16, which takes {bf16_ratio():.0f} times as long on this CPU")
    if options.to_psnr_steps:
        ratio = figures["deepinv_step_ratio"]
        figures |= to_the_same_psnr(options.to_psnr_steps, ratio)
    content: dict[str, object] = {
        **{name: round(value, 4) for name, value in figures.items()},
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
