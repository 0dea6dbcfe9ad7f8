"""Write the results of a prediction run as they finish."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from metadip.report.figures import measurement_picture, save_comparison, save_curves, save_image
from metadip.report.files import write_json
from metadip.report.metrics import reconstruction_metrics
from metadip.types import FitResult, InverseProblem

QUALITY = ("psnr_db", "ssim", "nmse")


class ResultWriter(pl.Callback):
    """Write pictures and one entry of numbers per image, each whole or not at all.

    Every process writes its own images; ``merge_entries`` joins the entries when all are done.

    Args:
        out: run folder; a folder of images gets a subfolder per image.
        single: whether the run has one image, whose pictures go to ``out`` itself.
    Raises:
        UserError: ``out`` cannot be written.
    """

    def __init__(self, out: Path, *, single: bool) -> None:
        self.out, self.single = out, single

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Sequence[InverseProblem],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the batch that has just been fitted."""
        for problem, result in zip(batch, outputs, strict=True):
            self.write(problem, result)

    def write(self, problem: InverseProblem, result: FitResult) -> None:
        """Write the pictures, the curves and the entry of one image."""
        folder = self.out if self.single else self.out / problem.name
        folder.mkdir(parents=True, exist_ok=True)
        entry = entry_of(problem, result)
        save_image(folder / "reconstruction.png", result.x_hat)
        truth = [] if problem.x is None else [("truth", problem.x)]
        title = (
            "reconstruction"
            if entry["psnr_db"] is None
            else f"reconstruction, {entry['psnr_db']:.2f} dB"
        )
        save_comparison(
            folder / "comparison.png", [*truth, measurement_picture(problem), (title, result.x_hat)]
        )
        save_curves(folder / "curves.png", result.curves, stop_step=result.stop_step)
        write_json(
            folder / "curves.json", {name: curve.tolist() for name, curve in result.curves.items()}
        )
        write_json(self.out / "entries" / f"{problem.name}.json", entry)


def entry_of(problem: InverseProblem, result: FitResult) -> dict[str, Any]:
    """Return the numbers of one image; quality is None where there is no ground truth."""
    entry: dict[str, Any] = {
        "name": problem.name,
        **reconstruction_metrics(result.x_hat, problem.x),
    }
    entry |= {
        "seconds": result.seconds,
        "steps": result.steps,
        "stop_step": result.stop_step,
        "stop_reason": result.stop_reason,
    }
    curve = result.curves.get("psnr_db")
    if problem.x is not None and curve is not None:
        best = int(curve.nan_to_num(nan=-1e9).argmax())
        entry |= {"best_psnr_db": float(curve[best]), "best_step": best}
    return entry


def merge_entries(out: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the entries of the named images in order of name."""
    return [json.loads((out / "entries" / f"{name}.json").read_text()) for name in sorted(names)]


def mean_entry(entries: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """Return the mean of every number over the images that have it, None where none has."""
    means: dict[str, float | None] = {}
    for key in ("psnr_db", "ssim", "nmse", "seconds", "steps", "best_psnr_db", "best_step"):
        values = [entry[key] for entry in entries if entry.get(key) is not None]
        means[key] = sum(values) / len(values) if values else None
    return means
