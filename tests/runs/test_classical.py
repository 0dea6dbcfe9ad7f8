"""Denoisers and plug-and-play through ``infer.py``: presets, refusals, what is written."""

import json
from pathlib import Path

import pytest

from metadip import config, runs
from metadip.data import sample_picture
from metadip.methods import DenoiserReconstructor, FitReconstructor
from metadip.methods.classical import name_of
from metadip.types import UserError
from tests.tiny import COMMON, infer

DENOISERS = ("bm3d", "nlm", "tv", "wavelet")
PNP = ["method=pnp_admm", "denoiser=tv", "pnp.iterations=2"]


@pytest.fixture
def photo(tmp_path: Path) -> list[str]:
    path = tmp_path / "photo.png"
    path.write_bytes(Path(sample_picture("astronaut.png")).read_bytes())
    return [f"input={path}", "image_size=16", "fit.steps=null", f"out={tmp_path / 'out'}"]


@pytest.mark.parametrize("name", DENOISERS)
def test_a_denoiser_of_its_name_is_built(name: str):
    method = runs.build_method(config.compose("infer", [f"method={name}"]))
    assert isinstance(method, DenoiserReconstructor)
    assert method.denoiser is not None
    assert name_of(method.denoiser) == name
    assert method.image_channels is None


@pytest.mark.parametrize("name", DENOISERS)
def test_plug_and_play_takes_every_denoiser(name: str):
    cfg = config.compose("infer", ["method=pnp_admm", f"denoiser={name}"])
    assert config.build(cfg.method).iterations == cfg.pnp.iterations
    assert name_of(config.build(cfg.method).denoiser) == name


def test_denoising_leaves_what_a_fit_leaves(photo: list[str], tmp_path: Path):
    entry = infer("method=nlm", *photo, "gif=true")["images"][0]
    curves = json.loads((tmp_path / "out" / "curves.json").read_text("utf-8"))
    assert curves["psnr_db"][1] > curves["psnr_db"][0]
    assert entry["psnr_db"] == pytest.approx(curves["psnr_db"][1])
    assert (entry["steps"], entry["stop_step"]) == (1, None)
    for file in ("reconstruction.png", "comparison.png", "curves.png", "fit.gif"):
        assert (tmp_path / "out" / file).is_file()


@pytest.mark.parametrize("task", ["cs", "cpr", "inpaint"])
def test_plug_and_play_solves_a_task(photo: list[str], task: str):
    changes = ["pnp.iterations=10"]
    metrics = infer(*PNP, *changes, f"task={task}", *photo)
    assert (metrics["method"], metrics["task"], metrics["ckpt"]) == ("pnp_admm", task, None)
    assert metrics["images"][0]["steps"] == 10
    assert metrics["images"][0]["psnr_db"] > 12


INFER = ["task=denoise", "task.noise_std=0.098", *COMMON]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["method=nlm", "task=cs"], "for task=cs use method=pnp_admm denoiser=nlm"),
        (
            ["method=tv", "task.noise=impulse", "task.level=low"],
            "task=denoise has SaltPepperNoise: use method=metadip or method=dip",
        ),
        (
            ["method=tv", "fit.steps=5"],
            "fit.steps=5 is not read by method=tv: leave it out, or take",
        ),
        (["method=tv", "fit.precision=bf16"], "fit.precision=bf16 is not read by method=tv"),
        ([*PNP, "callbacks=es_wmv"], "callbacks=es_wmv is not read by method=pnp_admm: leave it"),
        (["method=tv", "denoiser=nlm"], "denoiser=nlm goes with method=pnp_admm, or take method="),
        ([*PNP, "pnp.penalty=0"], "method: need strength > 0, penalty > 0 and iterations >= 1"),
        (["method=tv", "denoiser.weight=0"], "weight must be above 0, got 0"),
        (["method=drunet"], "denoiser=drunet needs weights: give denoiser.weights=download"),
    ],
)
def test_mistakes_are_refused_before_anything_is_written(
    settings: list[str], text: str, photo: list[str], tmp_path: Path
):
    words = [w for w in photo if not (w.startswith("fit.steps") and "fit.steps=5" in settings)]
    keys = [w.partition("=")[0] for w in settings]
    common = [w for w in INFER if not (w.startswith("task.noise_std") and "task=cs" in settings)]
    common = [w for w in common if w.partition("=")[0] not in keys]
    with pytest.raises(UserError, match=text.replace("(", r"\(")):
        runs.infer(config.compose("infer", [*common, *words, *settings]))
    assert not (tmp_path / "out").exists()


def test_only_fits_are_built_as_such():
    with pytest.raises(UserError, match="method=tv fits no network: take metadip or dip"):
        runs.build_fit(config.compose("infer", ["method=tv"]))
    small = ["method=dip", "prior.network.channels=[4]", "prior.network.skip_channels=[2]"]
    assert isinstance(runs.build_fit(config.compose("infer", small)), FitReconstructor)


def test_a_prior_that_the_method_would_not_look_at_is_refused():
    text = (
        "ckpt=natural64 is not read by method=metasiren, which has method.ckpt=metasiren64: set "
        "method.ckpt=natural64, or take method=metadip"
    )
    with pytest.raises(UserError, match=text):
        config.compose("infer", ["method=metasiren", "ckpt=natural64"])
