"""Cells that agree with y, what quick=true limits, and what makes a cell anew."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from metadip import config
from metadip.runs.cells import QUICK, Recipe
from metadip.runs.continuing import fingerprint
from tests.runs.test_benchmark import SMALL, rows, run, words


def test_a_table_may_make_results_agree_with_y(tmp_path: Path):
    """An inpainted image then has the observed pixels; sizes may be those of the files."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(astronaut()[40:168:8, 160:288:8]).save(photos / "photo.png")
    task = "['task=inpaint','task.ratio=0.5']"
    settings = f"['method=dip','prior=skip_unet_small',{SMALL},'method.steps=2'"
    arguments = [
        *words(photos, tmp_path / "out", "image_size=null", "count=1", "tasks=[denoise_25]"),
        f"table.tasks.denoise_25.settings={task}", f"table.methods.dip.settings={settings}]",
        f"table.methods.single_image.settings={settings},'exact=true']",
    ]  # fmt: skip
    assert run(*arguments) == 0
    as_fitted, agreeing = (float(row["psnr_db"]) for row in rows(tmp_path / "out"))
    assert agreeing > as_fitted + 2


def test_quick_also_limits_the_fits_of_a_denoiser():
    settings = ["method=pnp_admm", "denoiser=dip", "prior=skip_unet_small", "denoiser.steps=100"]
    recipe = Recipe(
        "ns", "cs", settings, ["task=cs"], count=None, quick=True, device=torch.device("cpu")
    )
    assert recipe.cfg.method.denoiser.steps == QUICK["steps"]
    assert recipe.cfg.method.iterations == QUICK["iterations"]


def test_quick_also_limits_what_a_method_does_first():
    recipe = Recipe(
        "both", "cdi", ["method=hio_double_dip"], ["task=cdi"], count=None, quick=True,
        device=torch.device("cpu"),
    )  # fmt: skip
    method = recipe.cfg.method
    assert method.first_steps == QUICK["first_steps"]
    assert (method.first.cycles, method.first.er_cycles) == (QUICK["cycles"], QUICK["er_cycles"])


def test_a_method_may_have_settings_of_its_own_for_a_task(tmp_path: Path):
    """Those for a task come after the method's and the task's."""
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(astronaut()[40:168:8, 160:288:8]).save(photos / "photo.png")
    arguments = [
        *words(photos, tmp_path / "out", "count=1", "tasks=[denoise_25,cs_1]"),
        "+table.methods.dip.for_task.cs_1=['method.steps=5']",
    ]
    arguments.remove("tasks=[denoise_25]")
    assert run(*arguments) == 0
    found = {(row["method"], row["task"]): int(row["steps"]) for row in rows(tmp_path / "out")}
    assert found == {
        ("dip", "denoise_25"): 3, ("dip", "cs_1"): 5,
        ("single_image", "denoise_25"): 4, ("single_image", "cs_1"): 4,
    }  # fmt: skip


@pytest.mark.parametrize("settings", [["method=pnp_admm", "denoiser=photo"], ["method=refined"]])
def test_a_prior_that_serves_as_denoiser_counts(settings: list[str], tmp_path: Path):
    own = tmp_path / "own.safetensors"
    key = "denoiser.ckpt" if "denoiser=photo" in settings else "method.denoiser.ckpt"
    found = set()
    for content in (b"first", b"second"):
        own.write_bytes(content)
        found.add(fingerprint(config.compose("infer", ["task=cs", *settings, f"{key}={own}"])))
    assert len(found) == 2
    assert fingerprint(config.compose("infer", ["method=tv", "task=denoise"])) is None
