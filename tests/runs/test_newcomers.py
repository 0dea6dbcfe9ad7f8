"""What people bring: grey pictures, arrays of integers, mixed folders, operators of one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage.data import astronaut

import infer as infer_script
from metadip import command_line
from metadip.tasks import MagneticResonanceTask, save_measurement
from tests.tiny import infer, save_tiny_prior

PX = 20
COLOUR = np.ascontiguousarray(astronaut()[40:140:5, 180:280:5])
GREY = COLOUR[..., 1]
HALF = '''
from deepinv.physics import LinearPhysics


class EveryOther(LinearPhysics):
    """Keep every other column."""

    def A(self, x, **kwargs):
        return x[..., ::2]


SHARED = EveryOther()


def every():
    return SHARED
'''


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"ckpt={save_tiny_prior(tmp_path_factory.mktemp('prior') / 'prior.safetensors')}"


def restored(out: Path) -> np.ndarray:
    return np.asarray(Image.open(out / "reconstruction.png"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert command_line.main("infer", infer_script.run, list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_a_grey_file_is_measured_in_grey_if_the_method_can(prior: str, tmp_path: Path):
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    source = f"input={tmp_path / 'grey.png'}"
    infer(prior, source, f"out={tmp_path / 'grey'}", "fit.steps=1")
    assert restored(tmp_path / "grey").ndim == 2
    infer(prior, source, "task=demosaick", f"out={tmp_path / 'colour'}", "fit.steps=1")
    assert restored(tmp_path / "colour").ndim == 3  # a mosaic of one colour is none


def test_a_folder_may_hold_both_and_what_is_skipped_is_told_once(
    prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(GREY).save(folder / "a.png")
    Image.fromarray(COLOUR).save(folder / "b.png")
    (folder / "notes.txt").write_text("of the shoot")
    infer(prior, f"input={folder}", f"out={tmp_path / 'out'}", "fit.steps=1")
    assert [restored(tmp_path / "out" / name).ndim for name in "ab"] == [2, 3]
    assert capsys.readouterr().err.count("1 files are no images and are skipped: notes.txt") == 1


@pytest.mark.parametrize("method", ["admm_tv", "adjoint", "lasso", "pnp_admm"])
def test_an_operator_of_nothing_but_A_serves_linear_methods(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "half4712.py").write_text(HALF)
    Image.fromarray(COLOUR).save(tmp_path / "x.png")
    settings = [f"method={method}", "physics=half4712:every", f"input={tmp_path / 'x.png'}"]
    own = {
        "admm_tv": "method.iterations=3", "lasso": "method.iterations=3",
        "pnp_admm": "denoiser=tv", "adjoint": "threads=1",
    }[method]  # fmt: skip
    words = [*settings, own, f"out={tmp_path / 'out'}", "progress=false"]
    assert command_line.main("infer", infer_script.run, words) == 0
    assert restored(tmp_path / "out").shape == (PX, PX, 3)


def scan(path: Path, **changes: torch.Tensor) -> Path:
    x = torch.from_numpy(GREY)[None, None] / 255
    problem = MagneticResonanceTask(2.0, noise_std=0.0, coils=1).measure(x, seed=0)
    save_measurement(path, problem)
    content = dict(torch.load(path)) | changes
    del content["x"]
    torch.save(content | changes, path)
    return path


@pytest.mark.parametrize("cut", [0, 4])  # scans are often shown cropped
def test_a_truth_of_mri_is_a_magnitude(cut: int, tmp_path: Path):
    kept = slice(cut, PX - cut)
    Image.fromarray(COLOUR[kept, kept]).save(tmp_path / "truth.png")
    file = scan(tmp_path / "scan.pt")
    words = ["task=mri", f"measurement={file}", f"truth={tmp_path / 'truth.png'}", "method=adjoint"]
    words += [f"out={tmp_path / 'out'}", "threads=1", "progress=false"]
    assert command_line.main("infer", infer_script.run, words) == 0
    entry = json.loads((tmp_path / "out" / "metrics.json").read_text())["images"][0]
    assert entry["psnr_db"] > 10


def test_a_truth_larger_than_the_scan_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    Image.fromarray(np.tile(GREY, (2, 2))).save(tmp_path / "truth.png")
    file = scan(tmp_path / "scan.pt")
    words = ["task=mri", f"measurement={file}", f"truth={tmp_path / 'truth.png'}", "method=adjoint"]
    error = refused(capsys, *words, f"out={tmp_path / 'out'}")
    assert "has size (1, 40, 40)" in error


@pytest.mark.parametrize("shape", [(1, 40, 40), (3, PX, PX)])
def test_a_truth_of_mri_in_the_file_fits(
    shape: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = scan(tmp_path / "scan.pt", x=torch.zeros(shape))
    words = ["task=mri", f"measurement={file}", "method=adjoint", f"out={tmp_path / 'out'}"]
    assert "x must be a magnitude (1, 20, 20) or smaller" in refused(capsys, *words)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int64])
def test_integers_of_an_array_are_those_of_an_image(
    prior: str, kind: type, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    values: np.ndarray = COLOUR.astype(kind) * (257 if kind is np.uint16 else 1)
    np.save(tmp_path / "x.npy", values)
    for source in ("input", "measurement"):
        out = tmp_path / source
        infer(prior, "input=null", f"{source}={tmp_path / 'x.npy'}", f"out={out}", "fit.steps=1")
    assert np.asarray(Image.open(tmp_path / "measurement" / "measured.png")).tolist() == (
        COLOUR.tolist()
    )
    assert ("is read as 0 to 255" in capsys.readouterr().err) == (kind is np.int64)


def test_a_grey_tiff_of_doubles_is_read(prior: str, tmp_path: Path):
    tifffile.imwrite(tmp_path / "x.tif", GREY / 255.0)
    out = tmp_path / "out"
    infer(prior, "input=null", f"measurement={tmp_path / 'x.tif'}", f"out={out}", "fit.steps=1")
    assert np.asarray(Image.open(out / "measured.png")).tolist() == GREY.tolist()


@pytest.mark.parametrize(
    ("task", "entries", "message"),
    [
        ("jpeg", {"quality": 400}, "quality must be at most 100, got 400"),
        ("sr", {"factor": 100}, "factor must be at most 16, got 100"),
        ("blind_deblur method=richardson_lucy", {}, "by more than noise: light is not negative"),
    ],
)
def test_what_a_file_says_out_of_range_is_refused(
    task: str, entries: dict[str, Any], message: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    y = COLOUR.transpose(2, 0, 1) / np.float32(255)
    y = y if entries else y - np.float32(0.4)  # its mean stays above 0
    assert y.mean() > 0
    np.savez(tmp_path / "y.npz", y=y, **entries)
    words = [f"task={task.split()[0]}", *task.split()[1:], f"measurement={tmp_path / 'y.npz'}"]
    assert message in refused(capsys, *words, f"out={tmp_path / 'out'}", "threads=1")


def test_what_is_taken_for_granted_is_told(
    prior: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A kernel that nobody gave, a mask that loses nothing; a camera's noise is no alarm."""
    Image.fromarray(COLOUR).save(tmp_path / "x.png")
    Image.fromarray(np.full_like(GREY, 255)).save(tmp_path / "mask.png")
    told = {
        "task=deblur": "is taken to be gaussian, 1.5 px",
        f"task=inpaint task.mask={tmp_path / 'mask.png'}": "loses no pixel",
        "task=real_noise task.shot=0.2": None,
    }
    for number, (settings, message) in enumerate(told.items()):
        source = "input" if message is None else "measurement"
        words = [prior, f"{source}={tmp_path / 'x.png'}", *settings.split(), "fit.steps=1"]
        words += [f"out={tmp_path / str(number)}", "threads=1", "progress=false"]
        assert command_line.main("infer", infer_script.run, words) == 0
        error = capsys.readouterr().err
        assert ("do not trust" not in error) if message is None else (message in error)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("task=inpaint task.mask=text task.ratio=0.3", "task.ratio=0.3 is not read with task.mask"),
        ("task=deblur task.kernel=disk task.kernel_std_px=2", "is not read with task.kernel=disk"),
        ("task=denoise task.level=low task.noise_std=0.2", "is not read with task.level=low"),
        ("task=deblur task.kernel=nope.npy", "no kernel file 'nope.npy': check the path"),
        ("task=cdi method=hio task.beamstop_px=100", "hides the whole detector of 40 x 40 px"),
        ("task=jpeg task.codec=true", "task.codec=false, or method=dip"),
        ("task=blind_deblur method=double_dip prior=skip_unet", "as prior=double_dip and blind_bl"),
        ("task=sr scale=4", "did you mean 'task=sr task.factor=NUMBER'?"),
        ("iterations=5", "did you mean 'fit.steps=NUMBER'?"),
    ],
)
def test_what_would_be_ignored_or_fail_late_is_refused(
    settings: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    Image.fromarray(COLOUR).save(tmp_path / "x.png")
    words = [*settings.split(), f"input={tmp_path / 'x.png'}", f"out={tmp_path / 'out'}"]
    assert message in refused(capsys, *words, "threads=1")
