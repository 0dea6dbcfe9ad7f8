"""The scripts as a user calls them: train, resume, reconstruct, ask for help."""

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

import train as train_script
from metadip import command_line, config
from metadip.tasks import DenoisingTask, PhaseRetrievalTask, save_measurement
from tests.tiny import INFER, REPO, TRAIN, infer, read_metrics, run_script, save_tiny_prior

HEAVY = ("lightning", "deepinv", "learn2learn", "kornia", "matplotlib", "wandb")
PICTURES = {
    "reconstruction.png", "comparison.png", "measured.png", "curves.png", "curves.json",
}  # fmt: skip
RUN_FILES = {"metrics.json", "config.yaml", "environment.json", "inputs.json", "entries"}


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_prior(tmp_path_factory.mktemp("prior") / "prior.safetensors")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three small images of different sizes."""
    folder = tmp_path_factory.mktemp("photos")
    face = astronaut()[40:140, 180:280]
    Image.fromarray(face[:80:4, ::4]).save(folder / "b.png")
    Image.fromarray(face[:33, :41][::2, ::2]).save(folder / "a.jpg")
    Image.fromarray(np.ascontiguousarray(face[::5, ::5])).save(folder / "c.png")
    return folder


def results_of(metrics: dict[str, Any]) -> dict[str, tuple[float, float]]:
    return {e["name"]: (e["psnr_db"], e["ssim"]) for e in metrics["images"]}


def weights_of(ckpt: Path) -> dict[str, torch.Tensor]:
    state = torch.load(ckpt, map_location="cpu", weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if name.startswith("prior.")}


def train(*arguments: object) -> None:
    words = [*TRAIN, "trainer.enable_progress_bar=false", *map(str, arguments)]
    assert command_line.main("train", train_script.run, words) == 0


def test_train_then_infer(tmp_path: Path, photos: Path):
    train(f"out={tmp_path / 'train'}")
    made = {path.name for path in (tmp_path / "train").iterdir()}
    assert made >= {"best.ckpt", "last.ckpt", "prior.safetensors", "metrics.csv", "config.yaml"}
    assert list((tmp_path / "train" / "validation").glob("step_*.png"))
    out = tmp_path / "infer"
    arguments = [f"ckpt={tmp_path / 'train' / 'last.ckpt'}", f"input={photos / 'b.png'}"]
    result = run_script("infer.py", [*INFER, *arguments, "trust=false", f"out={out}"])
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    table = result.stdout.splitlines()
    assert table[0].split("|")[1].strip() == "image"
    assert table[-1] == f"results: {out}"
    assert {path.name for path in out.iterdir()} == PICTURES | RUN_FILES
    metrics = read_metrics(out)
    assert list(metrics) == ["images", "mean", "method", "task", "ckpt", "seed"]
    assert metrics["method"] == "metadip"
    assert metrics["task"] == "denoise"
    entry = metrics["images"][0]
    assert entry["name"] == "b"
    assert entry["steps"] == 2
    assert entry["stop_step"] is None
    assert entry["psnr_db"] == metrics["mean"]["psnr_db"]
    environment = json.loads((out / "environment.json").read_text("utf-8"))
    assert torch.__version__.startswith(environment["torch"])
    assert "git_commit" in environment


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["impulse", "shot", "speckle"])
def test_meta_training_on_other_noise(noise: str, tmp_path: Path):
    train(f"task.noise={noise}", "task.level=low", f"out={tmp_path}")
    assert (tmp_path / "prior.safetensors").is_file()


def test_resuming_gives_the_same_weights(tmp_path: Path):
    train(f"out={tmp_path / 'whole'}")
    straight = weights_of(tmp_path / "whole" / "last.ckpt")
    # Both steps lie in the warm-up, which does not ask where training will end.
    train(f"out={tmp_path / 'parts'}", "+trainer.max_epochs=1")
    first = weights_of(tmp_path / "parts" / "last.ckpt")
    train(f"out={tmp_path / 'parts'}", f"ckpt={tmp_path / 'parts' / 'last.ckpt'}")
    resumed = weights_of(tmp_path / "parts" / "last.ckpt")
    assert any(not torch.equal(first[name], straight[name]) for name in straight)
    for name, tensor in straight.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=0)


def test_a_folder_of_different_sizes(
    prior: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "entries").mkdir()
    (tmp_path / "entries" / "stale.json").write_text('{"name": "stale"}')
    metrics = infer(f"ckpt={prior}", f"input={photos}", f"out={tmp_path}")
    assert [entry["name"] for entry in metrics["images"]] == ["a", "b", "c"]
    psnrs = [entry["psnr_db"] for entry in metrics["images"]]
    assert metrics["mean"]["psnr_db"] == pytest.approx(np.mean(psnrs))
    for name in "abc":
        assert {path.name for path in (tmp_path / name).iterdir()} == PICTURES
    assert (tmp_path / "contact_sheet.png").is_file()
    assert "a/comparison.png" in (tmp_path / "report.html").read_text("utf-8")
    printed = capsys.readouterr().out
    assert re.search(r"^\| mean +\| +\d+\.\d\d \|", printed, re.MULTILINE)
    for name, size in {"a": (21, 17), "b": (25, 20)}.items():
        with Image.open(tmp_path / name / "reconstruction.png") as picture:
            assert picture.size == size


def test_image_size_crops_and_resizes(prior: Path, photos: Path, tmp_path: Path):
    infer(f"ckpt={prior}", f"input={photos}", f"out={tmp_path}", "image_size=16")
    with Image.open(tmp_path / "a" / "reconstruction.png") as picture:
        assert picture.size == (16, 16)


def test_the_same_seed_gives_the_same_result(prior: Path, photos: Path, tmp_path: Path):
    arguments = [f"ckpt={prior}", f"input={photos / 'b.png'}", f"out={tmp_path}"]
    first, again = infer(*arguments), infer(*arguments)
    assert results_of(first) == results_of(again)
    other = infer(*arguments, "seed=1")
    assert results_of(first) != results_of(other)


@pytest.mark.parametrize("task", ["cs", "cpr"])
@pytest.mark.parametrize("method", ["metadip", "dip"])
def test_every_method_serves_every_task(
    task: str, method: str, prior: Path, photos: Path, tmp_path: Path
):
    arguments = [f"task={task}", "task.noise_std=0", f"method={method}"]
    small = [
        "prior=skip_unet_small",
        "prior.network.channels=[8]",
        "prior.network.skip_channels=[4]",
    ]
    own = small if method == "dip" else [f"ckpt={prior}"]
    metrics = infer(*arguments, *own, f"input={photos / 'b.png'}", f"out={tmp_path}")
    assert metrics["task"] == task
    assert metrics["method"] == method
    assert metrics["ckpt"] == (str(prior) if method == "metadip" else None)
    assert metrics["images"][0]["psnr_db"] > 0


def test_steps_default_to_the_methods_own(prior: Path, photos: Path, tmp_path: Path):
    arguments = [f"ckpt={prior}", f"input={photos / 'b.png'}", f"out={tmp_path}"]
    metrics = infer(*arguments, "fit.steps=null", "method.steps=3")
    assert metrics["images"][0]["steps"] == 3


def test_a_stopping_rule_stops(prior: Path, photos: Path, tmp_path: Path):
    rule = ["callbacks=es_wmv", "callbacks.es_wmv.window=2", "callbacks.es_wmv.patience=1"]
    arguments = [f"ckpt={prior}", f"input={photos / 'b.png'}", f"out={tmp_path}"]
    entry = infer(*arguments, *rule, "fit.steps=40", "callbacks.jitter.std=0.5")["images"][0]
    assert entry["stop_step"] == entry["steps"] < 40
    assert "variance" in entry["stop_reason"]


def test_the_quality_is_that_of_the_averaged_output(prior: Path, photos: Path, tmp_path: Path):
    arguments = [f"ckpt={prior}", f"input={photos / 'b.png'}", f"out={tmp_path}", "callbacks=dip"]
    entry = infer(*arguments)["images"][0]
    curves = json.loads((tmp_path / "curves.json").read_text("utf-8"))
    assert entry["psnr_db"] == pytest.approx(curves["psnr_db"][-1], abs=1e-4)
    assert curves["psnr_db"][-1] != curves["psnr_raw_db"][-1]


@pytest.mark.parametrize("suffix", [".pt", ".npz", ".png"])
def test_a_measurement_instead_of_an_image(suffix: str, prior: Path, photos: Path, tmp_path: Path):
    x = torch.from_numpy(np.array(Image.open(photos / "c.png"))).permute(2, 0, 1)[None] / 255
    problem = DenoisingTask(0.1, clip=False).measure(x, seed=3)
    file = tmp_path / f"y{suffix}"
    if suffix == ".png":
        pixels = problem.y[0].clamp(0, 1).mul(255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(file)
    else:
        save_measurement(file, problem)
    metrics = infer(f"ckpt={prior}", f"measurement={file}", f"out={tmp_path / 'out'}")
    entry = metrics["images"][0]
    assert entry["name"] == "y"
    assert (entry["psnr_db"] is None) == (suffix == ".png")
    assert (metrics["mean"]["ssim"] is None) == (suffix == ".png")


def test_a_measurement_of_magnitudes(prior: Path, tmp_path: Path):
    task = PhaseRetrievalTask(1.0, noise_std=0.0, operator="structured", max_bytes=2**20)
    x = torch.rand((1, 3, 16, 12), generator=torch.Generator().manual_seed(0))
    save_measurement(tmp_path / "y.pt", task.measure(x, seed=5))
    arguments = [f"ckpt={prior}", f"measurement={tmp_path / 'y.pt'}", f"out={tmp_path / 'out'}"]
    metrics = infer("task=cpr", "task.noise_std=0", *arguments)
    assert metrics["images"][0]["psnr_db"] > 0


@pytest.mark.slow  # two more processes that import everything
def test_two_processes_give_what_one_gives(prior: Path, photos: Path, tmp_path: Path):
    arguments = [*INFER, f"ckpt={prior}", f"input={photos}"]
    result = run_script("infer.py", [*arguments, f"out={tmp_path / 'two'}", "trainer.devices=2"])
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("results: ") == 1
    two = read_metrics(tmp_path / "two")
    one = infer(f"ckpt={prior}", f"input={photos}", f"out={tmp_path / 'one'}")
    assert [entry["name"] for entry in two["images"]] == ["a", "b", "c"]
    for name, values in results_of(one).items():
        assert results_of(two)[name] == pytest.approx(values, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("train", []),
        ("train", ["task=mixture", "learner=functional", "prior=siren", "stability=average"]),
        ("train", ["experiment=mixed64"]),
        ("train", ["val_steps=[0,5]"]),  # a list of numbers, not of files
        ("infer", []),
        ("infer", ["method=dip", "task=cs", "callbacks=es_wmv"]),
        ("infer", ["method=pnp_admm", "pnp=cs_bm3d"]),
    ],
)
def test_help_lists_every_setting_of_what_is_chosen(name: str, choices: list[str]):
    text = command_line.help_text(name, choices)
    chosen = config.choices_of(name, choices).items()
    for file in (name, *(f"{group.partition('@')[0]}/{choice}" for group, choice in chosen)):
        settings = (REPO / "conf" / f"{file}.yaml").read_text("utf-8")
        assert (settings if file == name else textwrap.indent(settings, "  ")) in text, file
    for path in config.known_keys(config.compose(name, choices)):  # of included files too
        parents, _, key = path.rpartition(".")
        if "choices" not in (parents, key):
            assert re.search(rf"(^|[ @]){key}[:,]", text, re.MULTILINE), path


def test_help_follows_what_a_choice_brings(capsys: pytest.CaptureFixture[str]):
    assert command_line.main("infer", print, ["task=cs", "method=dip", "--help"]) == 0
    text = capsys.readouterr().out
    assert "task=blind_deblur|cdi|cpr|cs|ct|deblur" in text
    headings = [line for line in text.splitlines() if ", from " in line and line[0] != " "]
    assert "task, from task=cs:" in headings
    assert "callbacks, from callbacks=dip:" in headings
    assert "learner, from learner=functional:" in command_line.help_text("train")
    several = command_line.help_text("infer", ["callbacks=[es_wmv,es_emv]"])
    assert "callbacks, from callbacks=es_wmv:" in several
    assert "callbacks, from callbacks=es_emv:" in several
    assert "callbacks, from" not in command_line.help_text("infer", ["callbacks=[]"])


@pytest.mark.parametrize(
    ("wrong", "right"), [("task=denois", "denoise"), ("fit.stps=3", "fit.steps")]
)
def test_help_of_what_is_unknown_is_refused(
    wrong: str, right: str, capsys: pytest.CaptureFixture[str]
):
    assert command_line.main("infer", print, [wrong, "--help"]) == 2
    assert f"did you mean '{right}'?" in capsys.readouterr().err


def test_help_is_quick():
    """The heavy libraries stay unimported until something is to be computed."""
    code = "import sys; from metadip.command_line import main; main('infer', print, ['--help'])"
    code += f"; print('imported:', *[name for name in {HEAVY!r} if name in sys.modules])"
    from subprocess import run

    result = run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=True)
    assert result.stdout.splitlines()[-1].split() == ["imported:"]


@pytest.mark.parametrize("script", ["train.py", "infer.py"])
def test_scripts_are_thin(script: str):
    assert len((REPO / script).read_text("utf-8").splitlines()) <= 40
