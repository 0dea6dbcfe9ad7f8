"""A small benchmark folder with made-up numbers and drawn pictures."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from metadip.report import Table, save_image, write_benchmark
from metadip.report.benchmark import judge, read_cells

METHODS = {"metadip": "MetaDIP (50)", "dip": "DIP <1000>", "tv": "TV", "bm3d": "BM3D"}
PUBLISHED = {
    "metadip": {"denoise_25": {"shapes": 30.7, "waves": 30.4}},
    "bm3d": {"denoise_25": {"shapes": 31.9}},
}


def place(published: str, ours: str | None, met: bool | None) -> dict[str, Any]:
    """Return one place of a claim."""
    return {"where": "shapes & waves", "published": published, "ours": ours, "met": met}


def make_table(**changes: Any) -> Table:
    """Return the description of the table, with some of it changed."""
    description: dict[str, Any] = {
        "name": "made_up",
        "title": "Denoising & sensing, made up",
        "methods": METHODS,
        "tasks": {"denoise_25": "Denoising, sigma = 25", "cs": "Compressed sensing, m/n = 0.25"},
        "sets": {"shapes": "shapes", "waves": "waves"},
        "reference": "metadip",
        "published": PUBLISHED,
        "not_run": {"bm3d": "its package is missing"},
        "notes": ["64 px, seed 0", "python benchmark.py table=made_up </script>"],
        "claims": [
            {"text": "A tenth of the steps.", "met": True, "places": [place("20 x", "22 x", True)]},
            {
                "text": "<b>Better</b> than DIP.",
                "met": False,
                "places": [
                    place("+0.4 dB", "-0.1 dB", False),
                    place("+1.0 dB", "+1.2 dB", True),
                ],
            },
            {"text": "Quicker on a GPU.", "met": None, "places": [place("24 x", None, None)]},
        ],
    }
    return Table(**(description | changes))


def write_cell(out: Path, **values: Any) -> None:
    """Write one cell: identity and PSNR as given, everything else by rule or left out."""
    cell = {
        "task": "denoise_25", "set": "shapes", "seed": 0, "psnr_db": None, "ssim": 0.9,
        "nmse": 0.01, "lpips": None, "seconds": 10.0, "steps": 100, "peak_memory_mb": None,
        "stop_step": None, "key": "0",
    } | values  # fmt: skip
    name = "_".join(str(cell[key]) for key in ("method", "task", "set", "image", "seed"))
    file = out / "cells" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(cell), "utf-8")


def curve(end_db: float, steps: int, *, speed: float, fall: float = 0.0) -> list[float]:
    """Return a PSNR that rises to ``end_db`` and falls again."""
    return [
        end_db - (end_db - 8) * math.exp(-speed * step) - fall * step / steps
        for step in range(steps + 1)
    ]


def draw(kind: str, number: int, side: int) -> torch.Tensor:
    """Return a picture (3, side, side) of discs or of waves."""
    row, column = torch.meshgrid(*[torch.linspace(0, 1, side)] * 2, indexing="ij")
    shift = torch.tensor([0.0, 0.9, 2.1]).view(3, 1, 1) + number
    if kind == "waves":
        return 0.5 + 0.4 * torch.sin(9 * row + shift) * torch.cos((5 + 2 * number) * column + shift)
    radius = ((row - 0.5) ** 2 + (column - 0.35 - 0.08 * number) ** 2).sqrt()
    disc = torch.sigmoid(80 * (0.28 - radius))
    square = ((row - 0.7).abs() < 0.15) & ((column - 0.75).abs() < 0.15)
    return 0.15 + 0.55 * disc * (0.6 + 0.4 * torch.cos(shift)) + 0.3 * square.float()


def fill_folder(out: Path, *, side: int = 64, images: Sequence[str] = ("a1", "b2", "c3")) -> None:
    """Write cells and pictures of every task, set and image; TV has only the first image."""
    generator = torch.Generator().manual_seed(0)
    steps = {"metadip": 50, "dip": 1000, "tv": 200}
    for task, level in (("denoise_25", 0.1), ("cs", 0.16)):
        for kind in ("shapes", "waves"):
            for number, image in enumerate(images):
                x = draw(kind, number, side)
                noise = torch.randn(x.shape, generator=generator)
                save_image(out / "cells" / "truth" / kind / f"{image}.png", x)
                measured = out / "cells" / "measured" / task / kind / f"{image}_0.png"
                save_image(measured, x + level * noise)
                for k, method in enumerate(steps):
                    if method == "tv" and number:
                        continue
                    psnr = 31 + 0.3 * number - 0.4 * k - 10 * level
                    curves = {}
                    if method != "tv":
                        raw = curve(psnr + 0.2, steps[method], speed=(0.2, 0.012)[k], fall=0.2)
                        smooth = [value - 0.3 * math.exp(-i / 50) for i, value in enumerate(raw)]
                        curves = {"curves": {"psnr_db": smooth, "psnr_raw_db": raw}}
                    write_cell(
                        out, method=method, task=task, set=kind, image=image, psnr_db=psnr,
                        nmse=10 ** (-psnr / 10) / x.square().mean().item(),
                        steps=steps[method], seconds=0.02 * steps[method], **curves,
                        **({"best_psnr_db": psnr + 0.4, "best_step": 380} if k == 1 else {}),
                    )  # fmt: skip
                    name = f"{method}_{task}_{kind}_{image}_0.png"
                    save_image(out / "cells" / name, x + 10 ** (-psnr / 20) * (1 + k) * noise)


def write(out: Path, table: Table, **options: Any) -> None:
    """Write what the cells of a folder say."""
    write_benchmark(out, table, judge(read_cells(out), table), **options)
