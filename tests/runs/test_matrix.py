"""Every method on every task: it reconstructs the image, or says in one line why not."""

import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from metadip import config, runs
from metadip.composing import names_in
from metadip.data import sample_picture
from metadip.methods import Method
from metadip.physics.splitting import real_dtype
from metadip.tasks import TASKS
from metadip.types import FitResult, InverseProblem, UserError
from tests.tiny import COMMON

SMALL = ["prior.network.channels=[4,4]", "prior.network.skip_channels=[2,2]"]
SETTINGS: dict[str, list[str]] = {
    "aseq_dip": SMALL,
    "autoencoder": ["prior.network.channels=[4,4]", "prior.network.skip_channels=[0,0]"],
    "conv_decoder": ["prior.width=4"],
    "deep_decoder": ["prior.width=4"],
    "deep_decoder_compress": ["prior.width=4"],
    "deep_decoder_inpaint": ["prior.width=4"],
    "denoiser": ["denoiser=tv"],
    "dip": SMALL,
    "dip_es": SMALL,
    "dip_hole": SMALL,
    "dip_inpaint": SMALL,
    "dip_jpeg": SMALL,
    "dip_restarts": [*SMALL, "method.restarts=2"],
    "dip_large_hole": SMALL,
    "dip_sparse": SMALL,
    "dip_sr": SMALL,
    "dip_sure": SMALL,
    "dip_text": SMALL,
    "dip_tv": SMALL,
    "dip_tv_split": [*SMALL, "method.steps=2", "method.splitting.inner_steps=1"],
    "double_dip_cdi": [
        *(
            f"prior.{part}.network.{key}"
            for part in ("magnitude", "phase")
            for key in ("channels=[4]", "skip_channels=[2]")
        ),
        "method.restarts=2",
        "~callbacks.es_wmv",
    ],
    "double_dip": [
        "prior.image.network.channels=[4]",
        "prior.image.network.skip_channels=[2]",
        "prior.kernel.width=8",
        "~callbacks.es_wmv",
    ],
    "dop": ["prior.image.network.channels=[4]", "prior.image.network.skip_channels=[2]"],
    "drp": ["prior.network.channels=[4]", "prior.network.skip_channels=[2]"],
    "drp_inpaint": ["prior.network.channels=[4]", "prior.network.skip_channels=[2]"],
    "drp_sr": ["prior.network.channels=[4]", "prior.network.skip_channels=[2]"],
    "gp_dip": [*SMALL, "callbacks.mean.burn_in=0"],
    "l0_dip": [*SMALL, "method.kernel_px=5", "method.rounds=1"],
    "l0_wiener": ["method.kernel_px=5", "method.rounds=1"],
    "lasso": ["method.iterations=2"],
    "net_pgd": ["method.steps=2", "method.projection.steps=1"],
    "pnp_admm": ["denoiser=tv", "pnp.iterations=2"],
    "refined": ["method.first.steps=2", "method.iterations=2"],
    "self_guided": SMALL,
    "hio": ["method.cycles=30", "method.er_cycles=2", "method.restarts=2"],
    "raar": ["method.cycles=30", "method.er_cycles=2", "method.restarts=2"],
    "hio_double_dip": [
        *(
            f"prior.{part}.network.{key}"
            for part in ("magnitude", "phase")
            for key in ("channels=[4]", "skip_channels=[2]")
        ),
        "method.first_steps=2",
        "method.first.cycles=20",
        "method.first.restarts=2",
    ],
    "richardson_lucy": ["method.iterations=2"],
    "selfdeblur": [
        "prior.image.network.channels=[4]",
        "prior.image.network.skip_channels=[2]",
        "prior.kernel.width=8",
        "method.refine_steps=1",
    ],
    "single_image": [*SMALL, "method.image_steps=1", "method.size_px=32"],
    "spectral": ["prior.network.width=4"],
    "admm_tv": ["method.iterations=2"],
    "wiener_dip": [*SMALL, "denoiser.steps=2"],
}
STEPS = (
    "aseq_dip",
    "autoencoder",
    "conv_decoder",
    "deep_decoder",
    "deep_decoder_compress",
    "deep_decoder_inpaint",
    "dip",
    "dip_es",
    "dip_hole",
    "dip_inpaint",
    "dip_jpeg",
    "dip_large_hole",
    "dip_restarts",
    "dip_sparse",
    "dip_sr",
    "dip_sure",
    "dip_text",
    "dip_tv",
    "dop",
    "double_dip",
    "drp",
    "double_dip_cdi",
    "drp_inpaint",
    "drp_sr",
    "gp_dip",
    "hio_double_dip",
    "l0_dip",
    "metadip",
    "metasiren",
    "net_gd",
    "pixels",
    "self_guided",
    "selfdeblur",
    "single_image",
    "spectral",
    "supervised",
)
WEIGHTLESS = {
    "drunet",
    "edip",
    "dip_flash",
    *({"dncnn"} if find_spec("scico") is None else ()),
}  # weights or a picture apart
METHODS = [name for name in names_in("method") if name not in WEIGHTLESS]
QUICK = (
    "adjoint", "wiener", "admm_tv", "lasso", "tv", "double_dip", "double_dip_cdi", "hio",
    "hio_double_dip", "l0_wiener", "raar", "richardson_lucy", "selfdeblur",
)  # fmt: skip
BLIND = {"blind_deblur"}  # the kernel is not told
FAR_FIELD = {"cdi"}  # neither linear nor an image of its channels
BACK_PROJECTS = (
    set(TASKS) - {"cpr", "mri"} - BLIND - FAR_FIELD
)  # the input is A^T y, of three channels
SERVED = {
    "aseq_dip": set(TASKS) - {"cpr"} - BLIND - FAR_FIELD,
    "self_guided": set(TASKS) - {"cpr"} - BLIND - FAR_FIELD,
    "supervised": BACK_PROJECTS,
    "bm3d": {"denoise"},
    "denoiser": {"denoise"},
    "dncnn": {"denoise"},
    "nlm": {"denoise"},
    "tv": {"denoise"},
    "wavelet": {"denoise"},
    "dip_sure": {"denoise"},
    "wiener": {"deblur"},
    "wiener_dip": {"deblur"},
    "l0_dip": BLIND,
    "l0_wiener": BLIND,
    "lasso": set(TASKS) - {"cpr"} - BLIND - FAR_FIELD,
    "adjoint": set(TASKS) - {"cpr"} - BLIND - FAR_FIELD,
    "admm_tv": set(TASKS) - {"cpr"} - BLIND - FAR_FIELD,
    "double_dip": BLIND,
    "double_dip_cdi": {"mri", *FAR_FIELD},  # complex objects; here cpr is in colour
    "hio": FAR_FIELD,
    "raar": FAR_FIELD,
    "hio_double_dip": FAR_FIELD,
    "pnp_admm": set(TASKS) - BLIND - FAR_FIELD,
    "refined": set(TASKS) - BLIND - FAR_FIELD,
    "richardson_lucy": BLIND,
    "selfdeblur": BLIND,
}  # method -> the tasks that it serves; others serve all where nothing is hidden


def words_of(name: str) -> list[str]:
    steps = ["fit.steps=2"] if name in STEPS else []
    return [f"method={name}", *SETTINGS.get(name, []), *steps]


@cache
def method_of(name: str) -> Method:
    return runs.build_method(config.compose("infer", words_of(name)))


@cache
def problem_of(name: str) -> InverseProblem:
    settings = ["task.operator=structured"] if name in ("cs", "cpr") else []
    task = config.build(config.compose("infer", [f"task={name}", *settings]).task)
    x = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    problem: InverseProblem = task.measure(x, seed=0, name="image")
    return problem


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "method",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in METHODS],
)
def test_pair(method: str, task: str) -> None:
    solver, problem = method_of(method), problem_of(task)
    if task not in SERVED.get(method, set(TASKS) - BLIND):
        with pytest.raises(UserError) as refusal:
            solved(solver, problem, task)
        assert str(refusal.value)
        assert "\n" not in str(refusal.value)
        return
    result = solved(solver, problem, task)
    assert result.x_hat.shape == (1, *problem.image_shape)
    assert result.x_hat.dtype == real_dtype(problem.y)
    assert result.x_hat.isfinite().all()
    assert problem.x is not None
    assert problem.read(result.x_hat).shape == problem.x.shape


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_command(method: str, tmp_path: Path) -> None:
    task = min(SERVED.get(method, {"inpaint"}))
    photo = [f"input={sample_picture('astronaut.png')}", "image_size=32", f"out={tmp_path}"]
    words = [*words_of(method), f"task={task}", *photo, *COMMON]
    (image,) = runs.infer(config.compose("infer", words))["images"]
    assert math.isfinite(image["psnr_db"])


def test_the_documents_say_which_method_serves_which_task(repo: Path) -> None:
    together: dict[str, list[str]] = {}
    for method, tasks in SERVED.items():
        rest = [f"`{task}`" for task in TASKS if task not in tasks]
        named = [f"`{task}`" for task in TASKS if task in tasks]
        told = ", ".join(named) if len(named) < len(rest) else f"all but {', '.join(rest)}"
        together.setdefault(told, []).append(f"`{method}`")
    lines = [f"| {', '.join(sorted(names))} | {told} |" for told, names in together.items()]
    page = (repo / "docs" / "tasks.md").read_text("utf-8")
    assert [line for line in lines if line not in page.splitlines()] == []


def solved(solver: Method, problem: InverseProblem, task: str) -> FitResult:
    solver.check(problem, task=f"task={task}")
    with torch.inference_mode():  # as Lightning's prediction loop does
        (result,) = solver.reconstruct([problem])
    return result
