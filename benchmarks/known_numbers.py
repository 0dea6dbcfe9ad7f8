"""Check denoisers against the literature: grey images of Set12, Gaussian noise of 25 of 255.

    python benchmarks/known_numbers.py --set12 FOLDER --out results

The folder holds the twelve images, whose names end in 01 to 12 in the usual order. Noise is not
clipped. Each method and image is saved in a file in ``--out``; a second call with the same settings
skips existing files. BM3D is compared with Zhang et al. (2017), DnCNN, arXiv:1608.03981, table II;
we know of no such numbers for the other methods.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from metadip import config
from metadip.data import list_images, read_image
from metadip.report import markdown_table, prepare_folder, psnr_db, write_json
from metadip.runs import build_method
from metadip.types import UserError

NOISE_STD = 25 / 255
METHODS = ("bm3d", "nlm", "tv", "wavelet")
PUBLISHED_BM3D_DB = {
    "C.man": 29.45, "House": 32.85, "Peppers": 30.16, "Starfish": 28.56, "Monarch": 29.25,
    "Airplane": 28.42, "Parrot": 28.93, "Lena": 32.07, "Barbara": 30.71, "Boat": 29.90,
    "Man": 29.61, "Couple": 29.71,
}  # fmt: skip


def images_of(folder: Path) -> dict[str, Path]:
    """Return the files of Set12 by image name."""
    found = {}
    for path in list_images(folder):
        number = re.search(r"(?<!\d)(\d\d)$", path.stem)
        if number and 1 <= int(number[1]) <= len(PUBLISHED_BM3D_DB):
            found[list(PUBLISHED_BM3D_DB)[int(number[1]) - 1]] = path
    if not found:
        raise UserError(f"--set12 {folder} has no images whose names end in 01 to 12")
    return {name: found[name] for name in PUBLISHED_BM3D_DB if name in found}


def measure(method: str, path: Path, settings: Sequence[str], *, seed: int) -> dict[str, Any]:
    """Denoise one image."""
    chosen = [f"method={method}", "task=denoise", f"task.noise_std={NOISE_STD}", *settings]
    cfg = config.compose("infer", chosen)
    x = read_image(path, channels=1)[None]
    problem = config.build(cfg.task).measure(x, seed=seed)
    begin = time.perf_counter()
    x_hat = build_method(cfg).reconstruct([problem])[0].x_hat
    return {"psnr_db": psnr_db(x_hat, x).item(), "seconds": time.perf_counter() - begin}


def measure_all(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure what is missing; return the PSNR by image and method."""
    images = list(images_of(options.set12).items())[: options.count]
    found: dict[str, dict[str, float]] = {name: {} for name, _ in images}
    jobs = [(name, path, method) for name, path in images for method in options.methods]
    for name, path, method in tqdm(jobs, unit="image", disable=None):
        own = options.settings if method == "bm3d" else []
        settings = {"seed": options.seed, "settings": own, "set12": str(options.set12)}
        file = options.out / f"{method}_{name}.json"
        entry = json.loads(file.read_text()) if file.is_file() else {}
        if entry and entry["settings"] != settings:
            raise UserError(f"{file} was made with other settings: choose another --out")
        if not entry:
            entry = measure(method, path, own, seed=options.seed) | {"settings": settings}
            write_json(file, entry)
        found[name][method] = entry["psnr_db"]
    return found


def table_of(found: Mapping[str, Mapping[str, float]], methods: Sequence[str]) -> str:
    """Return the Markdown table: a row per image, then their mean."""
    rows: list[dict[str, Any]] = [
        {"image": name, **numbers, "published": PUBLISHED_BM3D_DB[name]}
        for name, numbers in found.items()
    ]
    columns = [*methods, "published"]
    rows.append({"image": "mean", **{c: statistics.fmean(r[c] for r in rows) for c in columns}})
    titles = {"image": "image"} | {m: f"{m} (dB)" for m in methods}
    titles["published"] = "BM3D, published (dB)"
    return markdown_table(rows, titles, dict.fromkeys(columns, ".2f"))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set12", type=Path, required=True, help="folder of the images")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file per image goes here")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--settings", nargs="+", default=[], help="denoiser.implementation=pypi")
    parser.add_argument("--count", type=int, default=12, help="images, the first ones in order")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    options = parser.parse_args(argv)
    if options.count < 1:
        parser.error("--count must be at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    options = parse(argv)
    try:
        prepare_folder(options.out)
        print(table_of(measure_all(options), options.methods))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: finished images are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
