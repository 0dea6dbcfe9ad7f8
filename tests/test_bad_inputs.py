"""A user's mistake ends in one line and exit code 2, and nothing is written."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import infer
import train
from metadip import command_line
from tests.tiny import INFER, TRAIN, replaced, run_script, save_tiny_prior


class Marker:
    """Leave a file behind when unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of good and bad files, ``{}`` in the arguments below."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(folder / "image.png")
    Image.new("L", (17, 16), 255).save(folder / "white.png")
    (folder / "text.png").write_text("this is text")
    (folder / "empty").mkdir()
    prior = save_tiny_prior(folder / "prior.safetensors")
    content = prior.read_bytes()
    (folder / "truncated.safetensors").write_bytes(content[: len(content) // 2])
    torch.save({"state_dict": {}}, folder / "whole.ckpt")
    half = (folder / "whole.ckpt").read_bytes()
    (folder / "truncated.ckpt").write_bytes(half[: len(half) // 2])
    torch.save({"state_dict": Marker(folder / "executed")}, folder / "code.ckpt")
    save_foreign(prior, folder / "foreign.safetensors")
    y = rng.random((3, 16, 16)).astype(np.float32)
    np.savez(folder / "five.npz", y=rng.random((5, 16, 16)).astype(np.float32))
    torch.save({"y": torch.from_numpy(y)}, folder / "good.pt")
    for name in ("noisy/a.png", "noisy/b.png", "clean/a.png", "wide/a.png", "wide/b.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (17 if name == "wide/b.png" else 16, 16)).save(folder / name)
    np.savez(folder / "sum.npz", filter=np.ones((3, 3), dtype=np.float32))
    np.savez(folder / "even.npz", filter=np.full((2, 3), 1 / 6, dtype=np.float32))
    coils = np.ones((2, 8, 8), dtype=np.complex64)
    np.savez(folder / "coils.npz", y=coils, coil_maps=0 * coils)
    np.savez(folder / "kspace.npz", y=coils, coil_maps=coils[:, :4], mask=np.ones((8, 8)))
    y[0, 0, 0] = np.nan
    np.savez(folder / "nan.npz", y=y)
    return folder


def save_foreign(prior: Path, path: Path):
    """Copy a prior under the name of another architecture."""
    from safetensors import safe_open

    with safe_open(prior, framework="pt") as file:
        metadata = dict(file.metadata())
    metadata["description"] = metadata["description"].replace("skip_unet", "transformer")
    assert "transformer" in metadata["description"]
    save_file(load_file(prior), path, metadata=metadata)


# What is wrong -> arguments that replace those of a good call, and a part of the complaint.
BAD = {
    "missing file": (["input={}/none.png"], "none.png"),
    "missing measurement": (["input=null", "measurement={}/none.pt"], "none.pt"),
    "text renamed": (["input={}/text.png"], "text.png"),
    "NaN in a measurement": (["input=null", "measurement={}/nan.npz"], "NaN"),
    "wrong channel count": (["input=null", "measurement={}/five.npz"], "5 channels"),
    "empty folder": (["input={}/empty"], "no images"),
    "folder without measurements": (["input=null", "measurement={}/empty"], "no measurements"),
    "truth of another size": (
        ["input=null", "measurement={}/noisy", "truth={}/wide"],
        "wide/b.png' has size (16, 17), the image of '",
    ),
    "missing truth": (["input=null", "measurement={}/noisy", "truth={}/clean"], "of 'b.png'"),
    "one truth for two": (
        ["input=null", "measurement={}/noisy", "truth={}/clean/a.png"],
        "one file for 2 measurements",
    ),
    "no truth there": (["input=null", "measurement={}/noisy", "truth={}/none"], "none"),
    "truth of a truth": (["truth={}/image.png"], "goes with measurement="),
    "size of a measurement": (
        ["input=null", "measurement={}/good.pt", "image_size=8"],
        "image_size=8 goes with input=",
    ),
    "noise beside an operator": (
        ["physics=deepinv.physics:Denoising", "task.noise_std=0.1"],
        "has no use with physics=",
    ),
    "operator not there": (
        ["input=null", "measurement={}/good.pt", "physics=mylab4711:radon"],
        "no module 'mylab4711'",
    ),
    "operator that does not fit": (
        ["input=null", "measurement={}/good.pt", "physics=deepinv.physics:Blur"],
        "physics=deepinv.physics:Blur",
    ),
    "noise without level": (["task.noise=shot"], "task.level=null does not fit task.noise=shot"),
    "unknown noise": (["task.noise=salt"], "task.noise=salt"),
    "unknown level": (["task.noise=shot", "task.level=strong"], "low, medium, high"),
    "unknown switch": (["overwrite=perhaps"], "overwrite=perhaps"),
    "no animation": (["gif=5"], "gif=5"),
    "both inputs": (["measurement={}/good.pt"], "either input="),
    "no input": (["input=null"], "either input="),
    "ckpt of another architecture": (["ckpt={}/foreign.safetensors"], "foreign.safetensors"),
    "truncated safetensors": (["ckpt={}/truncated.safetensors"], "truncated"),
    "truncated ckpt": (["ckpt={}/truncated.ckpt"], "truncated"),
    "ckpt of something else": (["ckpt={}/whole.ckpt"], "not a checkpoint of metadip"),
    "ckpt with code": (["ckpt={}/code.ckpt"], "code"),
    "unknown ckpt": (["ckpt=faces65"], "faces65"),
    "unknown task": (["task=denoize"], "did you mean 'denoise'"),
    "misspelt key": (["fit.stepz=5"], "did you mean 'fit.steps'"),
    "misspelt argument": (["task.noise_sdt=0.1"], "did you mean 'task.noise_std'"),
    "negative noise": (["task.noise_std=-0.1"], "task.noise_std=-0.1"),
    "noise in 8-bit units": (["task.noise_std=25"], "25/255"),
    "ratio above one": (["task=cs", "task.ratio=2", "task.noise_std=0"], "task.ratio=2"),
    "matrix too large": (
        ["task=cs", "task.noise_std=0", "task.operator=gaussian", "task.max_bytes=1000"],
        "max_bytes",
    ),
    "mask of another size": (["task=inpaint", "task.mask={}/white.png"], "its mask (1, 16, 17)"),
    "mask that loses all": (["task=inpaint", "task.mask={}/noisy/a.png"], "loses every pixel"),
    "mask that is not there": (["task=inpaint", "task.mask={}/none.png"], "none.png': check"),
    "folder without that mask": (["task=inpaint", "task.mask={}/noisy"], "no mask of 'image'"),
    "kernel of sum 9": (["task=deblur", "task.kernel={}/sum.npz"], "sums to 9: divide"),
    "kernel of even sides": (["task=deblur", "task.kernel={}/even.npz"], "2 x 3 has no pixel in"),
    "unknown kernel": (["task=deblur", "task.kernel=gausss"], "did you mean gaussian?"),
    "kernel too large": (
        ["task=deblur", "task.kernel_std_px=5"],
        "a kernel of 31 x 31 px does not fit in an image of 24 x 20 px",
    ),
    "factor that does not divide": (
        ["task=sr", "task.factor=8"],
        "task.factor=8 does not divide an image of 20 x 24 px: crop it to 16 x 24 px",
    ),
    "no angles": (["task=ct", "task.angles=[]"], "task.angles=[] must be a number of directions"),
    "too few columns": (["task=mri", "task.acceleration=0.5"], "task.acceleration=0.5"),
    "coils that see nothing": (
        ["task=mri", "input=null", "measurement={}/coils.npz"],
        "coil_maps are zero everywhere",
    ),
    "k-space of another size": (
        ["task=mri", "input=null", "measurement={}/kspace.npz"],
        "coil_maps must have the shape (2, 8, 8) of the k-space",
    ),
    "motion of a measurement": (
        ["task=deblur", "task.kernel=motion", "input=null", "measurement={}/noisy/a.png"],
        "kernel of a measurement must be known",
    ),
    "output among the inputs": (
        ["input={}/noisy", "out={}/noisy/deep/out"],
        "noisy/deep/out lies inside input=",
    ),
    "output among the measurements": (
        ["input=null", "measurement={}/noisy", "out={}/noisy"],
        "noisy: choose another out",
    ),
    "output below a file": (["out={}/image.png/out"], "image.png/out"),
    "negative steps": (["fit.steps=-1"], "fit.steps=-1"),
    "steps in words": (["fit.steps=abc"], "fit.steps=abc"),
    "negative steps of the method": (["fit.steps=null", "method.steps=-1"], "method.steps=-1"),
    "loss that is not read": (["objective=l1"], "objective=l1 is not read by method=metadip"),
    "prior that is not read": (["method=dip"], "is not read by method=dip: leave it out, or take"),
    "unknown rule": (["method.beyond=stop"], "method.beyond='stop'"),
    "setting of another method": (
        ["method=supervised", "method.adam_lr=0.001"],
        "unknown setting 'method.adam_lr', did you mean 'method.seed'",
    ),
    "no step": (["method.adam_lr=0"], "method.adam_lr=0 must be a number above 0"),
    "a step that nothing takes": (
        ["method.beyond=hold", "method.adam_lr=0.001"],
        "method.adam_lr has no use with beyond=hold: set method.beyond=adam",
    ),
    "unknown precision": (["fit.precision=8"], "fit.precision=8"),
    "neither true nor false": (["fit.stacked=perhaps"], "fit.stacked=perhaps"),
    "no size": (["image_size=0"], "image_size=0"),
    "seed in words": (["seed=abc"], "seed=abc"),
    "no device": (["trainer.devices=0"], "trainer.devices=0"),
    "window of nothing": (["callbacks=es_wmv", "callbacks.es_wmv.window=0"], "window"),
}


def good_call(files: Path, out: Path) -> list[str]:
    return [*INFER, f"ckpt={files}/prior.safetensors", f"input={files}/image.png", f"out={out}"]


def assert_one_line(error: str, part: str):
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert part in error
    assert "Traceback" not in error


def test_a_rule_of_training_is_refused(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = [*INFER, "method=dip", "optimizer=momentum_sgd", f"input={files}/image.png"]
    assert command_line.main("infer", infer.run, [*words, f"out={tmp_path / 'out'}"]) == 2
    assert_one_line(capsys.readouterr().err, "optimizer=momentum_sgd is for training")


@pytest.mark.parametrize("case", BAD)
def test_infer_refuses(case: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    changes, part = BAD[case]
    out = tmp_path / "out"
    arguments = replaced(good_call(files, out), [change.format(files) for change in changes])
    before = sorted(files.rglob("*"))
    assert command_line.main("infer", infer.run, arguments) == 2
    printed = capsys.readouterr()
    assert_one_line(printed.err, part)
    assert printed.out == ""
    assert not out.exists()
    assert sorted(files.rglob("*")) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_infer_refuses_a_gpu_that_is_not_there(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = replaced(good_call(files, tmp_path / "out"), ["trainer.accelerator=gpu"])
    assert command_line.main("infer", infer.run, arguments) == 2
    assert_one_line(capsys.readouterr().err, "trainer.accelerator=gpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        (["ckpt=none.ckpt"], "none.ckpt"),
        (["data=folder"], "data.root must be given"),
        (["data=celeba", "data.root=none"], "data=sample"),
        (["seed=abc"], "seed=abc"),
        (["trainer.devices=0"], "trainer.devices=0"),
        (["optimizer=adam"], "optimizer=adam has no step sizes to learn"),
        (["optimizer.n_steps=1"], "optimizer.n_steps=1 must be at least learner.inner_steps=2"),
        (["start=faces65"], "start=faces65 is neither a file nor a released prior"),
        (["learner.functional.keep_every=0"], "keep_every must be at least 1"),
        (["learner.functional.reptile=true"], "no option under functional but keep_graphs"),
        (["learner.inner_stepz=3"], "did you mean 'learner.inner_steps'"),
        (["learner.inner_steps=abc"], "learner.inner_steps=abc must be a whole number"),
        (["learner.functional.keep_every=1.5"], "keep_every=1.5 must be a whole number"),
        (["outer.clip_norm=null"], "outer.clip_norm=null must be a number"),
        (["learner.first_order=2"], "learner.first_order=2 must be true or false"),
        (["trainer.max_steps=0"], "trainer.max_steps=0 must be a whole number of at least 1"),
        (["val_steps=[5,2]"], "val_steps"),
        (["out={}/image.png/out"], "image.png/out"),
    ],
)
def test_train_refuses(
    changes: list[str],
    part: str,
    files: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    out = tmp_path / "out"
    arguments = replaced([*TRAIN, f"out={out}"], [change.format(files) for change in changes])
    assert command_line.main("train", train.run, arguments) == 2
    assert_one_line(capsys.readouterr().err, part)
    assert not out.exists()


def test_results_of_an_earlier_run_stay(files: Path, tmp_path: Path):
    (tmp_path / "metrics.json").write_text("old")
    arguments = replaced(good_call(files, tmp_path), ["fit.steps=-1"])
    assert command_line.main("infer", infer.run, arguments) == 2
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"metrics.json": "old"}


def test_debug_shows_where_it_happened(files: Path, capsys: pytest.CaptureFixture[str]):
    arguments = replaced(good_call(files, files / "out"), ["fit.steps=-1", "debug=true"])
    assert command_line.main("infer", infer.run, arguments) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.splitlines()[-1].startswith("error: fit.steps=-1")


@pytest.mark.parametrize("script", ["infer.py", "train.py"])
def test_the_script_refuses(script: str, tmp_path: Path):
    """What is found before anything heavy is imported; all else is refused in process, above."""
    out, part = tmp_path / "out", "seed"
    result = run_script(script, ["sede=0", f"out={out}"])
    assert result.returncode == 2
    assert result.stdout == ""
    assert_one_line(result.stderr, part)
    assert not out.exists()
