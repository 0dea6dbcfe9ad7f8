"""Measure how close each stopping rule gets to the best step of a DIP on noisy images.

    python benchmarks/early_stopping.py --images FOLDER --out results
    python benchmarks/early_stopping.py --images FOLDER --out results --noises shot --levels high

All rules watch the same run of vanilla DIP, each with its own view, and stop only for themselves;
the run continues until all have stopped. "gap" is the best PSNR of a single step of the run (known
only with the ground truth) minus that of the image the rule returns; the run ends with the last
rule, so a later peak would be missed. Each image, noise and level is saved in a file in ``--out``;
a second call with the same settings skips existing files. ``fits.csv`` has a row per picture, noise
and rule, ``means.csv`` one per noise and level.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from stopping_gaps import (
    BUDGET_STEPS,
    LEVELS,
    NOISES,
    RULES,
    fits_of,
    means_of,
    rows_of,
    save_figure,
    table_of,
)
from tqdm import tqdm

from metadip import config
from metadip.callbacks import FitCallback, FitProgress, OraclePSNR
from metadip.data import ImageFolder, SampleKey, seed_of
from metadip.report import prepare_folder, psnr_db, write_csv, write_json
from metadip.types import FitState, InverseProblem, UserError


class Watch(FitCallback):
    """Let a stopping rule act on a view of the fit, and record what it would return.

    Model:
        The rule sees the problem, step, x_hat and loss of the fit. What it writes (output, curves,
        stop) stays in the view.
    """

    def __init__(self, rule: FitCallback) -> None:
        self.rule, self.done = rule, False
        self.entry: dict[str, Any] = {}

    def on_reconstruction_start(self, state: FitState) -> None:
        """Open the view."""
        self.view = copy.copy(state)
        self.view.output = state.output.clone()
        self.view.curves, self.view.stop_steps, self.view.stop_reasons = {}, {}, {}
        self.rule.on_reconstruction_start(self.view)

    def on_step_end(self, state: FitState) -> None:
        """Show the step to the rule, until it stops."""
        if self.done:
            return
        self.view.step, self.view.estimate = state.step, state.estimate
        self.view.loss, self.view.misfit = state.loss, state.misfit
        self.view.inputs = state.inputs
        self.view.output[:] = state.x_hat  # as the loop does before it calls a hook
        self.rule.on_step_end(self.view)
        if self.view.stop_steps:
            self._finish(state)

    def on_reconstruction_end(self, state: FitState) -> None:
        """Let a rule that never stopped return its best so far."""
        if not self.done:
            self._finish(state)

    def _finish(self, state: FitState) -> None:
        """Record what the rule returns."""
        stopped = bool(self.view.stop_steps)
        self.rule.on_reconstruction_end(self.view)
        truth = state.problems[0].x
        assert truth is not None
        chosen = self.view.curves["chosen_step"][0]
        known = chosen[chosen.isfinite()].tolist() or [state.step]  # no choice: the last iterate
        self.entry = {
            "stopped": stopped,
            "stop_step": state.step,
            "chosen_step": int(known[-1]),
            "psnr_db": psnr_db(self.view.output, truth).item(),
        }
        self.done = True


class EndWhenAllStopped(FitCallback):
    """End the run once every watched rule has stopped."""

    def __init__(self, watches: Mapping[str, Watch]) -> None:
        self.watches = watches

    def on_step_end(self, state: FitState) -> None:
        """Stop the fit."""
        if all(watch.done for watch in self.watches.values()):
            state.stop(torch.ones_like(state.active, dtype=torch.bool), "every rule has stopped")


def settings_of(noise: str, options: argparse.Namespace) -> list[str]:
    """Return the settings of ``infer.py`` for one noise; impulse noise needs the l1 loss."""
    objective = "l1" if noise == "impulse" else "mse"
    return [
        "method=dip", f"prior={options.prior}", f"objective={objective}",
        f"method.steps={options.steps}", f"fit.precision={options.precision}",
        f"seed={options.seed}",
    ]  # fmt: skip


def rule_of(name: str, overrides: Sequence[str]) -> FitCallback:
    """Build a stopping rule as ``callbacks=NAME`` does, without its jitter."""
    chosen = [value for value in overrides if value.startswith(f"callbacks.{name}.")]
    cfg = config.compose("infer", ["method=dip", f"callbacks={name}", *chosen])
    rule: FitCallback = config.build(cfg.callbacks[name])
    return rule


def measure(noise: str, problem: InverseProblem, options: argparse.Namespace) -> dict[str, Any]:
    """Fit once, watched by every rule."""
    from metadip.runs import build_method

    method = build_method(config.compose("infer", settings_of(noise, options)))
    watches = {name: Watch(rule_of(name, options.set)) for name in options.rules}
    hooks = [OraclePSNR(), *watches.values(), EndWhenAllStopped(watches)]
    hooks.append(FitProgress(refresh_steps=10, leave=False))
    result = method.reconstruct([problem], hooks=hooks)[0]
    assert problem.x is not None
    return {
        "noisy_psnr_db": psnr_db(problem.y, problem.x).item(),
        "curves": {
            key: [round(v, 3) for v in result.curves[key].tolist()]
            for key in ("psnr_raw_db", "psnr_db")
        },
        "rules": {name: watch.entry for name, watch in watches.items()},
        "steps": result.steps,
        "seconds": result.seconds,
    }


def measure_all(options: argparse.Namespace) -> dict[tuple[str, str], dict[str, Any]]:
    """Measure what is missing; return the entries by (noise, level) and picture."""
    images = ImageFolder(
        str(options.images), split=None, channels=3, crop_px=options.size,
        size_px=options.size, flip=False, seed=options.seed,
    )  # fmt: skip
    names = images.names[options.first : options.first + options.count]
    if not names:
        raise UserError(f"--first {options.first}: {options.images} has {len(images)} pictures")
    jobs = [(name, noise, level) for name in names for level in options.levels
            for noise in options.noises]  # fmt: skip
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for name, noise, level in tqdm(jobs, unit="fit", disable=None):
        settings = {"images": str(options.images), "size": options.size, "rules": options.rules,
                    "fit": settings_of(noise, options), "set": options.set}  # fmt: skip
        path = options.out / f"{noise}_{level}_{name}.json"
        entry = json.loads(path.read_text()) if path.is_file() else {}
        if entry and entry["settings"] != settings:
            raise UserError(f"{path} was made with other settings: choose another --out")
        if not entry:
            index = images.names.index(name)
            x = images[SampleKey(0, index)].x[None]
            task = config.build(
                config.compose("infer", [f"task.noise={noise}", f"task.level={level}"]).task
            )
            problem = task.measure(x, seed=seed_of(options.seed, 0, index), name=name)
            entry = measure(noise, problem, options) | {"settings": settings}
            write_json(path, entry)
        entries.setdefault((noise, level), {})[name] = entry
    return entries


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="a folder of clean pictures")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file per run goes here")
    parser.add_argument("--noises", nargs="+", choices=NOISES, default=list(NOISES))
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=list(LEVELS))
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--prior", default="skip_unet", help="network, see conf/prior")
    parser.add_argument("--size", type=int, default=128, help="side of the crops, px")
    parser.add_argument("--steps", type=int, default=BUDGET_STEPS, help="longest run, steps")
    parser.add_argument("--first", type=int, default=0, help="first picture, in order of name")
    parser.add_argument("--count", type=int, default=9, help="pictures")
    parser.add_argument("--seed", type=int, default=0, help="of noise, weights, jitter")
    parser.add_argument("--precision", default="32", help="32 or bf16")
    parser.add_argument("--set", nargs="*", default=[], help="e.g. callbacks.sv_es.every=10")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; default: its own choice")
    options = parser.parse_args(argv)
    if min(options.size, options.steps, options.count, options.threads or 1) < 1:
        parser.error("--size, --steps, --count and --threads must be at least 1")
    known = tuple(f"callbacks.{rule}." for rule in options.rules)
    if unknown := [setting for setting in options.set if not setting.startswith(known)]:
        parser.error(f"--set {unknown[0]} is no setting of {', '.join(options.rules)}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and draw; return the exit code."""
    options = parse(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        prepare_folder(options.out)
        entries = measure_all(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: finished runs are kept", file=sys.stderr)
        return 130
    rows = rows_of(entries)
    print(table_of(rows, options.rules))
    save_figure(options.out / "curves.png", entries)
    write_csv(options.out / "fits.csv", fits_of(entries))
    write_csv(options.out / "means.csv", means_of(rows))
    print(json.dumps({"command": sys.argv, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
