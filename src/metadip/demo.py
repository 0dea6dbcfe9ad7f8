"""Restore a built-in photograph, and a face from three measurements: ``python -m metadip.demo``.

On the noisy photograph, the released prior is compared with total variation; on the face, of 64 px,
with vanilla DIP, which fits a small network from random weights: after as many steps, and at its
best step, which only the ground truth reveals.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from metadip import config
from metadip.command_line import set_thread_policy
from metadip.prior_files import DEFAULT
from metadip.types import InverseProblem, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from metadip.methods import FitReconstructor

SIZE_PX = 64
PHOTOGRAPH = "chelsea.png"  # of scikit-image, 451x300 px
NOISE = ("task=denoise", "task.noise_std=0.098")  # 25 of 255
COLUMNS = {
    "task": "task", "method": "method", "steps": "steps", "psnr_db": "PSNR (dB)",
    "seconds": "seconds",
}  # fmt: skip


class DemoTask(NamedTuple):
    """One inverse problem: its title, settings of ``infer.py``, and DIP's number of steps.

    DIP's best step must lie well within its steps.
    """

    title: str
    overrides: tuple[str, ...]
    dip_steps: int


TASKS = {
    "denoise": DemoTask("denoising", ("task=denoise",), 600),
    "cs": DemoTask("compressive sensing", ("task=cs",), 1000),
    "cpr": DemoTask("phase retrieval", ("task=cpr",), 1000),
}


class Look(NamedTuple):
    """A reconstruction at one step of a fit."""

    x_hat: Tensor
    psnr_db: float
    steps: int
    seconds: float


def build_method(overrides: Sequence[str]) -> FitReconstructor:
    """Build a method from settings, as ``infer.py`` does."""
    from metadip import runs

    return runs.build_fit(config.compose("infer", overrides))


def vanilla_dip(steps: int, *, seed: int) -> FitReconstructor:
    """Build vanilla DIP with the small network of the released prior."""
    choices = ["method=dip", "prior=skip_unet_small", f"method.steps={steps}", f"seed={seed}"]
    return build_method(choices)


def look_at_fit(
    method: FitReconstructor, problem: InverseProblem, at_step: int
) -> tuple[Look, Look]:
    """Fit, and return the reconstruction after ``at_step`` updates and at its best step.

    The better of the output and the single step counts, so that averaging never hurts a method.
    """
    from metadip.callbacks import FitCallback, FitProgress, OraclePSNR
    from metadip.metrics import psnr_db
    from metadip.types import FitState

    looks: dict[str, Look] = {}
    begin = time.perf_counter()

    class OracleLooks(FitCallback):
        """Keep the two reconstructions."""

        def on_step_end(self, state: FitState) -> None:
            assert problem.x is not None
            truth, seconds = problem.x, time.perf_counter() - begin
            images = (state.output, state.x_hat)
            value, image = max(
                ((psnr_db(x, truth).item(), x) for x in images), key=lambda pair: pair[0]
            )
            if "best" not in looks or value > looks["best"].psnr_db:
                looks["best"] = Look(image.clone(), value, state.step, seconds)
            if state.step <= at_step:  # a rule may end the fit before
                looks["at"] = Look(image.clone(), value, state.step, seconds)

    bar = FitProgress(refresh_steps=10, leave=False)
    method.reconstruct([problem], hooks=[OraclePSNR(), bar, OracleLooks()])
    return looks["at"], looks["best"]


def restore_photograph(options: argparse.Namespace, metadip: FitReconstructor) -> list[Look]:
    """Denoise a whole photograph; return the results of total variation and of the prior."""
    from metadip import runs
    from metadip.data import read_image, sample_picture
    from metadip.metrics import psnr_db
    from metadip.report import measurement_picture, save_comparison

    photograph = read_image(sample_picture(PHOTOGRAPH))[None]
    cfg = config.compose("infer", ["method=tv", *NOISE])
    problem = config.build(cfg.task).measure(photograph, seed=options.seed, name="photograph")
    begin = time.perf_counter()
    (result,) = runs.build_method(cfg).reconstruct([problem])
    seconds = time.perf_counter() - begin
    tv = Look(result.x_hat, psnr_db(result.x_hat, photograph).item(), 0, seconds)
    ours, _ = look_at_fit(metadip, problem, metadip.steps)
    panels = [
        (f"{name}, {look.psnr_db:.1f} dB", look.x_hat)
        for name, look in (("total variation", tv), ("metadip", ours))
    ]
    path = options.out / "photograph.png"
    save_comparison(path, [("truth", photograph), measurement_picture(problem), *panels])
    return [tv, ours]


def restore(name: str, options: argparse.Namespace, metadip: FitReconstructor) -> list[Look]:
    """Solve one task; return DIP after as many steps, DIP at its best, and MetaDIP."""
    from metadip.data import sample_face

    task = TASKS[name]
    cfg = config.compose("infer", task.overrides)
    face = sample_face(SIZE_PX)[None]
    problem = config.build(cfg.task).measure(face, seed=options.seed, name=task.title)
    ours, _ = look_at_fit(metadip, problem, metadip.steps)
    dip = vanilla_dip(options.dip_steps or task.dip_steps, seed=options.seed)
    looks = [*look_at_fit(dip, problem, metadip.steps), ours]
    _save(options.out / f"{name}.png", problem, looks)
    return looks


def _save(path: Path, problem: InverseProblem, looks: Sequence[Look]) -> None:
    """Write truth, measurement and the three reconstructions side by side."""
    from metadip.report import measurement_picture, save_comparison

    titles = (f"DIP, {looks[0].steps} steps", f"DIP, best step {looks[1].steps}",
              f"metadip, {looks[2].steps} steps")  # fmt: skip
    panels = [
        (f"{title}, {look.psnr_db:.1f} dB", look.x_hat)
        for title, look in zip(titles, looks, strict=True)
    ]
    save_comparison(path, [("truth", problem.x), measurement_picture(problem), *panels])


def rows_of(
    title: str,
    looks: Sequence[Look],
    methods: Sequence[str] = ("vanilla DIP, as many steps", "vanilla DIP, best step", "metadip"),
) -> list[Mapping[str, Any]]:
    """Return the lines of the table for one task."""
    return [
        {"task": title if i == 0 else "", "method": method, "steps": look.steps,
         "psnr_db": look.psnr_db, "seconds": look.seconds}
        for i, (method, look) in enumerate(zip(methods, looks, strict=True))
    ]  # fmt: skip


def run(options: argparse.Namespace) -> list[Mapping[str, Any]]:
    """Restore the photograph and the face, print the table, return its rows."""
    from metadip.report import markdown_table, prepare_folder

    prepare_folder(options.out)
    begin = time.perf_counter()
    steps = [] if options.steps is None else [f"method.steps={options.steps}"]
    metadip = build_method([f"ckpt='{options.ckpt}'", f"seed={options.seed}", *steps])
    count = len(TASKS) + 1
    print(f"[1/{count}] a noisy photograph ...", flush=True)
    looks = restore_photograph(options, metadip)
    rows = rows_of("photograph, 25 of 255", looks, ("total variation", "metadip"))
    for number, (name, task) in enumerate(TASKS.items(), 2):
        print(f"[{number}/{count}] {task.title} ...", flush=True)
        rows += rows_of(task.title, restore(name, options, metadip))
    print(f"\n{markdown_table(rows, COLUMNS, {'psnr_db': '.2f', 'seconds': '.1f'})}\n")
    print("The best step of DIP is chosen by the truth; nobody without it could stop there.")
    pictures = ", ".join(str(options.out / f"{name}.png") for name in ("photograph", *TASKS))
    print(f"Pictures: {pictures}\nTotal: {time.perf_counter() - begin:.0f} s")
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo from the command line; return the exit code, 2 after a user error."""
    parser = argparse.ArgumentParser("python -m metadip.demo", description=_summary())
    parser.add_argument("--out", type=Path, default=Path("outputs/demo"), help="pictures go here")
    parser.add_argument("--seed", type=int, default=0, help="of noise, operators, random weights")
    parser.add_argument("--ckpt", default=DEFAULT, help="the prior: a released name or a file")
    parser.add_argument("--steps", type=int, help="of the prior; default: its own")
    parser.add_argument("--dip-steps", type=int, help="of vanilla DIP; default: by task")
    options = parser.parse_args(argv)
    set_thread_policy()
    if min(options.steps or 1, options.dip_steps or 1) < 1 or 0 in (
        options.steps,
        options.dip_steps,
    ):
        parser.error("--steps and --dip-steps must be at least 1")
    try:
        run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: pictures of finished tasks are kept", file=sys.stderr)
        return 130
    return 0


def _summary() -> str:
    return (__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
