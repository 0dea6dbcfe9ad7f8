"""Compare the running variance of a fit with what the theorems on ES-WMV predict.

    python benchmarks/variance_theory.py --out benchmarks/results --picture variance.png

A small skip network is fitted to a noisy image by gradient descent on ||x - y||^2 / n. Theorem 1 of
arXiv:2112.06074 gives the variance of the windows that ES-WMV looks at, for a network that stays
near its linearisation; its Jacobian J at the start is computed exactly, in float64. Step t moves
the image along the left singular vectors w_i of J, each with its own rate: with eta = 2 lr / n and
r_i = 1 - eta s_i^2, the part of x_t - y along w_i is that of x_0 - y times r_i^t. One run for each
``--lr``: small steps stay near the start for longer. ``variance_theory.csv`` has every window that
overlaps no other.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from deepinv.physics import Denoising
from result_records import record
from torch import Tensor

from metadip.callbacks import ESWMV
from metadip.data import sample_face
from metadip.fitting import SGD, Execution, Sum, fit, mse
from metadip.priors import Latent, LatentNetwork, SkipUNet, draw_weights
from metadip.report import prepare_folder, write_csv
from metadip.report.figures import BLUE, ORANGE, STYLE, new_figure, save_figure
from metadip.types import InverseProblem, UserError


def jacobian(prior: LatentNetwork, problem: InverseProblem) -> tuple[Tensor, Tensor]:
    """Return the exact Jacobian (n, weights) of the image at the start, and the image (n,)."""
    weights, inputs = prior.start(problem)
    names = list(weights)

    def image(*tensors: Tensor) -> Tensor:
        named = dict(zip(names, tensors, strict=True))
        x: Tensor = torch.func.functional_call(
            prior, named, (problem.image_shape[1:],), dict(inputs)
        ).x
        return x.flatten()

    given = tuple(weight.detach() for weight in weights.values())
    parts = torch.autograd.functional.jacobian(image, given)
    rows = [part.reshape(len(part), -1) for part in parts]
    return torch.cat(rows, dim=1), image(*given)


def predicted(j: Tensor, residual: Tensor, *, lr: float, steps: int, window: int) -> Tensor:
    """Return v_t of theorem 1 for steps 0 to ``steps``, NaN before the window is full.

    The variance of the window that ends at t is sum_i C_i <w_i, y - x_0>^2 r_i^(2 (t - W + 1)) / n,
    with C_i the variance of r_i^0, ..., r_i^(W - 1).

    Args:
        j: Jacobian (n, weights).
        residual: y - x_0 (n,).
        lr: step size of gradient descent on the mean squared error.
        steps: number of weight updates.
        window: W, outputs in a window.
    """
    n = len(residual)
    w, s, _ = torch.linalg.svd(j, full_matrices=False)
    r = 1 - 2 * lr / n * s.square()
    c = (r[:, None] ** torch.arange(window)).var(dim=1, correction=0)
    share = (w.T @ residual).square()
    starts = torch.arange(steps + 1 - (window - 1))
    curve = (c * share) @ r[:, None] ** (2 * starts) / n
    return torch.cat([torch.full((window - 1,), torch.nan, dtype=curve.dtype), curve])


def measured(
    prior: LatentNetwork, problem: InverseProblem, *, lr: float, steps: int, window: int
) -> Tensor:
    """Return the variance that ES-WMV sees at steps 0 to ``steps`` of gradient descent."""
    hooks = [ESWMV(window, patience=10**6, min_start=0)]
    rule, plain = SGD(lr=lr, momentum=0.0), Execution(backtracking=None)
    (result,) = fit([problem], prior, Sum(mse), rule, steps=steps, hooks=hooks, execution=plain)
    return result.curves["variance"]


def small_problem(options: argparse.Namespace) -> tuple[LatentNetwork, InverseProblem]:
    """Return a skip network of a few thousand weights, and a noisy image, in float64."""
    network = SkipUNet(8, out_channels=3, channels=[16, 16], skip_channels=[4, 4])
    latent = Latent(8, size_px=options.size, n_wavelengths=0, noise_scale=1.0, seed=options.seed)
    prior = LatentNetwork(draw_weights(network, seed=options.seed), latent, learned=True).double()
    x = sample_face(options.size)[None].double()
    generator = torch.Generator().manual_seed(options.seed)
    y = x + options.noise_std * torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return prior, InverseProblem(y, Denoising(), (3, options.size, options.size), x)


def rows_of(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row per step size and step, with both variances."""
    prior, problem = small_problem(options)
    j, x0 = jacobian(prior, problem)
    rows = []
    for lr in options.lr:
        settings = {"lr": lr, "steps": options.steps, "window": options.window}
        pairs = zip(
            predicted(j, problem.y.flatten() - x0, **settings).tolist(),
            measured(prior, problem, **settings).tolist(),
            strict=True,
        )
        for step, (theory, run) in enumerate(pairs):
            if step >= options.window - 1:
                rows.append({"lr": lr, "step": step, "predicted": theory, "measured": run})
    return rows


def draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Plot predicted and measured variance over the steps, a panel for each step size."""
    import matplotlib as mpl

    rates = sorted({row["lr"] for row in rows})
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(1, len(rates), 2.6, width_inches=3.2 * len(rates))
        for ax, lr in zip(axes, rates, strict=True):
            own = [row for row in rows if row["lr"] == lr]
            steps = [row["step"] for row in own]
            ax.semilogy(steps, [row["measured"] for row in own], color=BLUE, label="measured")
            predicted = [row["predicted"] for row in own]
            ax.semilogy(steps, predicted, "--", color=ORANGE, label="theorem 1")
            ax.set_title(f"step size {lr:g}")
        axes[0].legend()
        figure.supxlabel("step")
        figure.supylabel("variance of the window")
        save_figure(path, figure)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write and print; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="variance_theory.csv goes here")
    parser.add_argument("--picture", type=Path, help="a PNG of the curves")
    parser.add_argument("--lr", nargs="+", type=float, default=[1e-5, 0.01, 0.1], help="step sizes")
    parser.add_argument("--steps", type=int, default=300, help="weight updates")
    parser.add_argument("--window", type=int, default=20, help="outputs in a window")
    parser.add_argument("--size", type=int, default=16, help="side of the image, px")
    parser.add_argument("--noise-std", type=float, default=0.1, help="in [0, 1] intensity")
    parser.add_argument("--seed", type=int, default=0, help="of weights, latent and noise")
    words = sys.argv[1:] if argv is None else list(argv)
    options = parser.parse_args(words)
    if options.steps < options.window:
        parser.error("--steps must be at least --window")
    try:
        prepare_folder(options.out)
        rows = rows_of(options)
        path = options.out / "variance_theory.csv"
        write_csv(path, [row for row in rows if (row["step"] + 1) % options.window == 0])
        record(path, shlex.join(["python", "benchmarks/variance_theory.py", *words]))
        if options.picture is not None:
            draw(options.picture, rows)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for lr in options.lr:
        ratios = [row["measured"] / row["predicted"] for row in rows if row["lr"] == lr]
        print(f"step size {lr:g}: measured / predicted {ratios[0]:.3f} in the first window, "
              f"{min(ratios):.2f} to {max(ratios):.2f} in all")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
