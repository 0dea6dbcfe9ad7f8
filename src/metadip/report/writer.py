"""Write the results of a prediction run as they finish."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from metadip.callbacks.oracle import peak_of_curve
from metadip.files import write_json
from metadip.metrics import reconstruction_metrics
from metadip.report.curve_figures import has_curves, save_curves
from metadip.report.deep_images import depth_of, save_deep_image
from metadip.report.extra_pictures import (
    kernel_of,
    kernel_picture,
    pictures_of,
    save_extras,
    scores_of,
)
from metadip.report.figures import (
    Panel,
    comparison_panels,
    measurement_picture,
    save_comparison,
    save_image,
)
from metadip.report.maps import map_facts, save_array, save_map
from metadip.report.tables import markdown_table
from metadip.types import FitResult, InverseProblem

Entry = dict[str, Any]
AVERAGED = ("psnr_db", "ssim", "nmse", "seconds", "steps", "best_psnr_db", "best_step")
COLUMNS = {
    "name": "image",
    "psnr_db": "PSNR (dB)",
    "ssim": "SSIM",
    "seconds": "seconds",
    "steps": "steps",
}
FORMATS = {"psnr_db": ".2f", "ssim": ".3f", "seconds": ".1f", "steps": "g"}


class ResultWriter(pl.Callback):
    """Write pictures and one entry of numbers per image, each file whole or not at all.

    Every process writes its own images; ``merge_entries`` joins the entries when all are done.

    Args:
        out: run folder; a folder of images gets a subfolder per image.
        single: whether the run has a single image, whose pictures go to ``out`` itself.
    Raises:
        UserError: If ``out`` cannot be written.
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
        """Write the pictures and the curves of one image, then its entry.

        A fit that diverged at once has no curves to draw.
        """
        folder = self.out if self.single else self.out / problem.name
        shown, bits = problem.read(result.x_hat), depth_of(problem)
        save_image(folder / "reconstruction.png", shown)
        (folder / "reconstruction.tiff").unlink(missing_ok=True)  # that of an earlier run
        if bits > 8:
            save_deep_image(folder / "reconstruction.tiff", shown, bits=bits)
        _save_measured(folder / "measured.png", problem, shown)
        save_extras(folder, problem, result)
        panels = [*comparison_panels(problem, result.x_hat), *_extra_panels(problem, result)]
        save_comparison(folder / "comparison.png", panels)
        if has_curves(result.curves):
            save_curves(folder / "curves.png", result.curves, stop_step=result.stop_step)
        else:
            (folder / "curves.png").unlink(missing_ok=True)  # that of an earlier run
        for name, picture in result.pictures.items():
            save_map(folder / f"{name}.png", picture)
            save_array(folder / f"{name}.npy", picture[0])
        write_json(folder / "curves.json", result.curves)
        write_json(_entry_file(self.out, problem.name), entry_of(problem, result))


def _save_measured(path: Path, problem: InverseProblem, shown: Tensor) -> None:
    """Save a picture of the measurement, if it has the shape of the image, else none."""
    picture = measurement_picture(problem)[1]
    if picture is not None and _ratio(picture) == _ratio(shown):
        save_image(path, picture)
    else:
        path.unlink(missing_ok=True)  # that of an earlier run


def _ratio(x: Tensor) -> Fraction:
    return Fraction(x.shape[-1], x.shape[-2])


def _extra_panels(problem: InverseProblem, result: FitResult) -> list[Panel]:
    """Return the kernel that was found, and the pictures of a reading."""
    kernel = kernel_of(result)
    found: list[Panel] = [] if kernel is None else [("kernel", kernel_picture(kernel))]
    return found + list(pictures_of(problem, result).items())


def entry_of(problem: InverseProblem, result: FitResult) -> Entry:
    """Return the numbers of one image; quality is None without a ground truth."""
    scores = reconstruction_metrics(problem.read(result.x_hat), problem.x)
    entry: Entry = {
        "name": problem.name,
        **scores,
        **scores_of(problem, result),
        "seconds": result.seconds,
        "steps": result.steps,
        "stop_step": result.stop_step,
        "stop_reason": result.stop_reason,
        "rollbacks": result.rollbacks,
        **result.checks,
        **{name: map_facts(picture) for name, picture in result.pictures.items()},
    }
    curve = result.curves.get("psnr_db")
    if problem.x is not None and curve is not None:
        best, step = peak_of_curve(curve)
        entry |= {"best_psnr_db": best.item(), "best_step": int(step)}
    return entry


def _entry_file(out: Path, name: str) -> Path:
    return out / "entries" / f"{name}.json"


def finished_images(out: Path) -> list[str]:
    """Return the names of the finished images in ``out``."""
    return sorted(file.stem for file in (out / "entries").glob("[!.]*.json"))


def forget_results(out: Path, names: Sequence[str] | None = None) -> None:
    """Remove the ``metrics.json`` of earlier runs into ``out``, and entries: all or the named."""
    entries = [_entry_file(out, n) for n in (finished_images(out) if names is None else names)]
    for file in [out / "metrics.json", *entries]:
        file.unlink(missing_ok=True)


def missing_entries(out: Path, names: Sequence[str]) -> list[str]:
    """Return the names of the images that are not finished."""
    return [name for name in names if not _entry_file(out, name).exists()]


def merge_entries(out: Path, names: Sequence[str]) -> list[Entry]:
    """Return the entries of the named images, ordered by name."""
    return [json.loads(_entry_file(out, name).read_text("utf-8")) for name in sorted(names)]


def mean_entry(entries: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the mean of every number over the images that have it, None if none has."""
    means: dict[str, float | None] = {}
    for key in AVERAGED:
        values = [entry[key] for entry in entries if entry.get(key) is not None]
        means[key] = sum(values) / len(values) if values else None
    return means


def results_table(metrics: Mapping[str, Any], *, max_rows: int = 20) -> str:
    """Return the content of ``metrics.json`` as a table: one image per line, then the mean."""
    entries = metrics["images"]
    rows = list(entries[:max_rows])
    if len(entries) > max_rows:
        rows.append({"name": f"({len(entries) - max_rows} more)"})
    if len(entries) > 1:
        rows.append({"name": "mean", **metrics["mean"]})
    return markdown_table(rows, COLUMNS, FORMATS)
