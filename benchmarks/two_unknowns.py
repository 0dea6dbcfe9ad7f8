"""Time what two unknowns cost: convolutions, and steps of double DIP over those of plain DIP.

``python benchmarks/two_unknowns.py --out FOLDER`` prints two tables of ratios of processor time, so
that other work on the machine counts little, and writes them:

- a valid convolution, with the gradients of image and kernel, by sums over that by FFT;
- a step of blind deblurring and of phase retrieval over one of plain DIP with the same network for
  the image, of the same size.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from metadip import config
from metadip.physics.kernel_blur import convolve
from metadip.report import markdown_table, write_csv
from metadip.runs import build_method
from metadip.types import InverseProblem

CHANNELS, SKIPS = "[32,32,64,64,64]", "[4,4,4,4,4]"
KERNELS_PX = (5, 11, 27, 51)


def by_sums(x: Tensor, k: Tensor) -> Tensor:
    """Return the valid convolution of images of one channel with a kernel, by sums."""
    return F.conv2d(x, k.flip(-1, -2))


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Return the median processor time of some work, after a first run."""
    times = []
    for _ in range(rounds + 1):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return statistics.median(times[1:])


def convolutions(size_px: int, rounds: int) -> list[dict[str, object]]:
    """Return a row per kernel: milliseconds by sums and by FFT, and their ratio."""
    rows: list[dict[str, object]] = []
    for side in KERNELS_PX:
        x = torch.rand(1, 1, size_px + side - 1, size_px + side - 1, requires_grad=True)
        k = torch.rand(1, 1, side, side, requires_grad=True)

        def run(convolution: Callable[[Tensor, Tensor], Tensor], x: Tensor, k: Tensor) -> None:
            torch.autograd.grad(convolution(x, k).square().sum(), (x, k))

        sums, fft = (
            1e3 * seconds(lambda way=way, x=x, k=k: run(way, x, k), rounds)  # type: ignore[misc]
            for way in (by_sums, convolve)
        )
        rows.append({"kernel_px": side, "sums_ms": sums, "fft_ms": fft, "ratio": sums / fft})
    return rows


def fit_ms(words: list[str], size_px: int, steps: int) -> float:
    """Return milliseconds of processor time per step of a fit, its start taken off."""
    cfg = config.compose("infer", [*words, f"method.steps={steps}"])
    x = torch.full((1, 1, size_px, size_px), 0.5)
    problem: InverseProblem = config.build(cfg.task).measure(x, seed=0)
    times = []
    for count in (0, steps):
        cfg.method.steps = count
        method = build_method(cfg)
        begin = time.process_time()
        method.reconstruct([problem])
        times.append(time.process_time() - begin)
    return 1e3 * (times[1] - times[0]) / steps


def steps_over_dip(size_px: int, steps: int) -> list[dict[str, object]]:
    """Return a row per fit: milliseconds per step, and over plain DIP on an image of its size."""
    kernel_px = size_px // 4 * 2 + 1
    seen = size_px + kernel_px - 1  # side of the image of which y shows size_px

    def net(prefix: str) -> list[str]:
        return [f"{prefix}.channels={CHANNELS}", f"{prefix}.skip_channels={SKIPS}"]

    plain = ["task=denoise", "method=dip", "callbacks=none", *net("prior.network")]
    blind = ["task=blind_deblur", "callbacks=none", f"task.kernel_px={kernel_px}",
             f"method.kernel_px={kernel_px}", *net("prior.image.network")]  # fmt: skip
    far = ["task=cdi", "method=double_dip", "method.restarts=1", "callbacks=none",
           *net("prior.magnitude.network")]  # fmt: skip
    cases = {
        "blind deblurring, double DIP": (["method=double_dip", *blind], seen),
        "blind deblurring, SelfDeblur": (["method=selfdeblur", *blind], seen),
        "phase retrieval, double DIP": (far, size_px),
    }
    rows: list[dict[str, object]] = []
    for name, (words, side) in cases.items():
        ours, theirs = fit_ms(words, side, steps), fit_ms(plain, side, steps)
        rows.append({"fit": name, "image_px": side, "step_ms": ours, "dip_ms": theirs,
                     "ratio": ours / theirs})  # fmt: skip
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=64, help="side of what is measured, px")
    parser.add_argument("--steps", type=int, default=20, help="steps of each fit")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each convolution")
    parser.add_argument("--out", type=Path, help="folder of the two CSV files")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    formats = {"sums_ms": ".2f", "fft_ms": ".2f", "step_ms": ".1f", "dip_ms": ".1f", "ratio": ".2f"}
    tables: dict[str, Callable[[], list[dict[str, object]]]] = {
        "two_unknowns_convolution": lambda: convolutions(options.size, options.rounds),
        "two_unknowns_step": lambda: steps_over_dip(options.size, options.steps),
    }
    for name, measured in tables.items():
        rows = measured()
        shown = {key: form for key, form in formats.items() if key in rows[0]}
        print(markdown_table(rows, {key: key for key in rows[0]}, shown), end="\n\n", flush=True)
        if options.out:
            write_csv(options.out / f"{name}.csv", rows)


if __name__ == "__main__":
    main()
