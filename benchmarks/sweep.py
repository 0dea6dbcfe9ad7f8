"""Run every combination of a sweep file locally, one after another, without W&B's server.

    python benchmarks/sweep.py conf/sweep/small.yaml --out results data.root=FACES threads=1

Each run is ``train.py`` with the settings that W&B's agent would give it, logged by W&B offline:
``wandb sync results/*/wandb/offline-run-*`` uploads the logs later. Settings after ``--out`` apply
to all runs. A finished run is not repeated; an interrupted one resumes from its ``last.ckpt``. The
table, also in ``sweep.csv``, has the best validation PSNR of each run.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from metadip.report import markdown_table, prepare_folder, write_csv
from metadip.types import UserError

REPO = Path(__file__).resolve().parents[1]


def combinations(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of each run of a grid.

    Raises:
        UserError: If the sweep is not a grid, so that W&B's server would choose its runs.
    """
    if sweep["method"] != "grid":
        raise UserError(f"only grids run here, method is {sweep['method']}: use wandb sweep")
    parameters = sweep["parameters"]
    choices = [p["values"] if "values" in p else [p["value"]] for p in parameters.values()]
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*choices)]


def varied(sweep: dict[str, Any]) -> list[str]:
    """Return the settings that differ between runs."""
    return [name for name, p in sweep["parameters"].items() if len(p.get("values", [])) > 1]


def train(out: Path, settings: dict[str, Any], common: Sequence[str]) -> None:
    """Run ``train.py`` unless it has finished."""
    if (out / "prior.safetensors").is_file():
        return
    last = out / "last.ckpt"
    resume = [f"ckpt='{last}'"] if last.is_file() else []
    arguments = [f"{name}={value}" for name, value in settings.items()]
    command = [sys.executable, str(REPO / "train.py"), *arguments, *common, f"out='{out}'", *resume]
    try:
        subprocess.run(command, check=True, env={**os.environ, "WANDB_MODE": "offline"})
    except subprocess.CalledProcessError as error:
        raise UserError(f"{out}: train.py ended with code {error.returncode}") from error


def scores(out: Path) -> dict[str, Any]:
    """Return the outer steps and the best validation PSNR of a finished run."""
    content = torch.load(out / "last.ckpt", map_location="cpu", weights_only=True)
    (best,) = (s for s in content["callbacks"].values() if s.get("best_model_score") is not None)
    return {"outer_steps": content["global_step"], "best_db": float(best["best_model_score"])}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is missing and print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sweep", type=Path, help="a file of conf/sweep whose method is grid")
    parser.add_argument("--out", type=Path, required=True, help="a folder per run goes here")
    parser.add_argument("settings", nargs="*", help="settings of train.py, for all runs")
    options = parser.parse_intermixed_args(argv)
    # unresolved: ${env} is W&B's syntax, not an interpolation
    sweep: Any = OmegaConf.to_container(OmegaConf.load(options.sweep), resolve=False)
    names, rows = varied(sweep), []
    try:
        prepare_folder(options.out)
        for number, settings in enumerate(combinations(sweep)):
            out = options.out / f"run{number:02d}"
            train(out, settings, options.settings)
            rows.append({name: settings[name] for name in names} | scores(out))
            write_csv(options.out / "sweep.csv", rows)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        return 130
    titles = {name: name for name in names}
    titles |= {"outer_steps": "outer steps", "best_db": f"best {sweep['metric']['name']}"}
    print(markdown_table(rows, titles, {"best_db": ".2f"}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
