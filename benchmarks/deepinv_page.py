"""Measure what docs/deepinv.md says: its code beside deepinv's, and what the scale gives.

    python benchmarks/deepinv_page.py --faces FACES --count 5 --out deepinv_page.csv
    python benchmarks/deepinv_page.py --faces FACES --count 5 --out deepinv_scale.csv --what scale

``methods`` runs each method of the page on the first test faces, denoising at 25 of 255 and, with
plug-and-play too, where half of the pixels are lost; ``scale`` fits ``faces64`` with the scale of
four operators as it is and estimated. Image i is measured with seed i. Each row of the CSV is a
mean over the images; seconds are processor time of an image. Rows that are there are not computed
again.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import deepinv as dinv
import torch
from deepinv.physics import Physics
from deepinv.physics.functional.blur import gaussian_blur
from torch import Tensor

import metadip
from metadip.data import CelebA, SampleKey
from metadip.metrics import psnr_db
from metadip.report import write_csv

SIDE, NOISE_STD = 64, 25 / 255
SHAPE = (3, SIDE, SIDE)
Model = Callable[[Tensor, Physics], Tensor]


def deepinv_dip() -> Model:
    """Return deepinv's own DIP."""
    network = dinv.models.ConvDecoder(img_size=SHAPE, in_size=(4, 4), layers=5, channels=64)
    model: Model = dinv.models.DeepImagePrior(network, img_size=(64, 4, 4), iterations=400)
    return model


def deepinv_pnp(denoiser: Any) -> Model:
    """Return deepinv's plug-and-play method around a denoiser, of the strength that suits it."""
    prior = dinv.optim.PnP(denoiser=denoiser)
    model: Model = dinv.optim.PGD(
        data_fidelity=dinv.optim.L2(), prior=prior, stepsize=1.0, sigma_denoiser=0.01, max_iter=200
    )
    return model


METHODS: dict[str, Callable[[], Model]] = {  # made anew for each image: TVDenoiser remembers
    "load_photo": lambda: metadip.load("photo"),
    "load_faces64": lambda: metadip.load("faces64", steps=50),
    "dip": lambda: metadip.DIP("skip_unet_small", lr=0.01, steps=400, seed=0),
    "deepinv_dip": deepinv_dip,
    "deepinv_pnp_tv": lambda: deepinv_pnp(dinv.models.TVDenoiser(n_it_max=50)),
    "deepinv_pnp_photo": lambda: deepinv_pnp(metadip.denoiser("photo")),
}


def noise(std: float) -> Any:
    """Return Gaussian noise of a level."""
    return dinv.physics.GaussianNoise(std)


def mask(seed: int) -> Tensor:
    """Return a mask that keeps half of the pixels."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(1, SIDE, SIDE, generator=generator) < 0.5).float()


PROBLEMS: dict[str, Callable[[int], Physics]] = {
    "denoise_25": lambda seed: dinv.physics.Denoising(noise(NOISE_STD)),
    "inpaint_50": lambda seed: dinv.physics.Inpainting(SHAPE, mask=mask(seed)),
}
SCALED: dict[str, Callable[[int], Physics]] = {
    "inpaint_50": PROBLEMS["inpaint_50"],
    "downsampling": lambda seed: dinv.physics.Downsampling(
        img_size=SHAPE, factor=2, filter="bicubic", noise_model=noise(0.02)
    ),
    "demosaicing": lambda seed: dinv.physics.Demosaicing(SHAPE, noise_model=noise(0.02)),
    "blur": lambda seed: dinv.physics.Blur(
        gaussian_blur(sigma=(1.5, 1.5)), padding="circular", noise_model=noise(0.02)
    ),
}


def score(
    make: Callable[[], Model], problem: Callable[[int], Physics], xs: Sequence[Tensor]
) -> Any:
    """Return mean PSNR and processor seconds of a method over images."""
    values, seconds = [], []
    for seed, x in enumerate(xs):
        torch.manual_seed(seed)
        physics, model = problem(seed), make()
        y = physics(x)
        begin = time.process_time()
        x_hat = model(y, physics)
        seconds.append(time.process_time() - begin)
        values.append(psnr_db(x_hat.detach(), x).item())
    return {
        "count": len(xs),
        "psnr_db": round(statistics.fmean(values), 2),
        "seconds": round(statistics.fmean(seconds), 2),
    }


def jobs(what: str) -> list[tuple[str, str, Callable[[], Model], Callable[[int], Physics]]]:
    """Return what is measured: method, problem, and how each is made."""
    if what == "methods":
        pairs = [(m, p) for p in PROBLEMS for m in METHODS if p != "denoise_25" or "pnp" not in m]
        return [(m, p, METHODS[m], PROBLEMS[p]) for m, p in pairs]
    return [
        (f"rescale={rescale} steps={steps}", p, make(rescale, steps), SCALED[p])
        for p in SCALED
        for rescale in (False, True)
        for steps in (10, 20, 50)
    ]


def make(rescale: bool, steps: int) -> Callable[[], Model]:
    """Return what makes ``faces64`` with or without the estimated scale."""
    return lambda: metadip.load("faces64", steps=steps, rescale=rescale)


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measure what is missing, row by row; return the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faces", required=True, help="folder of faces in CelebA's layout")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file")
    parser.add_argument("--what", choices=("methods", "scale"), default="methods")
    parser.add_argument("--count", type=int, default=5, help="images")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    faces = CelebA(options.faces, split="test", crop_px=None, size_px=SIDE, flip=False, seed=0)
    xs = [faces[SampleKey(0, i)].x[None] for i in range(options.count)]
    rows: list[dict[str, Any]] = []
    if options.out.is_file():
        with options.out.open() as file:
            rows = list(csv.DictReader(file))
    done = {(row["method"], row["problem"]) for row in rows}
    for method, problem, build, physics in jobs(options.what):
        if (method, problem) not in done:
            rows.append({"method": method, "problem": problem, **score(build, physics, xs)})
            print(*rows[-1].values(), flush=True)
            write_csv(options.out, rows)
    return rows


if __name__ == "__main__":
    main()
