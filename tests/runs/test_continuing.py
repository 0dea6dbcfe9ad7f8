"""A folder of images: continued where it ended, never mixed, whole whenever it is killed."""

import os
import random
import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import infer as infer_script
from metadip import command_line
from metadip.files import locked
from tests.processes import TIMEOUT_S, launched, wait_for
from tests.tiny import INFER, infer, read_metrics, replaced, save_tiny_prior

PICTURES = ("reconstruction.png", "comparison.png", "curves.png")
Times = dict[str, int]


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_prior(tmp_path_factory.mktemp("prior") / "prior.safetensors")


def fill(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = rng.integers(0, 256, (8 + i % 3, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return fill(tmp_path / "photos", 3)


def times(out: Path) -> Times:
    """Return when each file of the finished images was written."""
    names = [entry.stem for entry in (out / "entries").glob("[!.]*.json")]
    files = [out / "entries" / f"{name}.json" for name in names]
    files += [out / name / picture for name in names for picture in PICTURES]
    return {str(file.relative_to(out)): file.stat().st_mtime_ns for file in files}


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    words = replaced(INFER, list(map(str, arguments)))
    assert command_line.main("infer", infer_script.run, words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_finished_images_stay(
    prior: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    arguments = [f"ckpt={prior}", f"input={photos}", f"out={out}"]
    whole, before = infer(*arguments), times(out)
    (out / "entries" / "001.json").unlink()
    (out / "metrics.json").unlink()
    for place in (out, out / "entries", out / "001"):
        (place / ".half.0123abcd.tmp.png").write_text("half")
    capsys.readouterr()
    shown = ["progress=false", "fit.batch_size=2", f"input={photos}/"]
    again = infer(*arguments, *shown)
    assert "2 of 3 images were finished before and stay" in capsys.readouterr().out
    changed = dict(times(out).items() - before.items())
    assert {name.removeprefix("entries/")[:3] for name in changed} == {"001"}
    for one, other in zip(whole["images"], again["images"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert not list(out.rglob("*.tmp.png"))
    assert (out / "contact_sheet.png").is_file()


def test_nothing_left_to_do(prior: Path, photos: Path, tmp_path: Path):
    arguments = [f"ckpt={prior}", f"input={photos}", f"out={tmp_path / 'out'}"]
    infer(*arguments)
    before = times(tmp_path / "out")
    shutil.copy(photos / "000.png", photos / "new.png")
    (tmp_path / "out" / "metrics.json").unlink()
    metrics = infer(*arguments)
    assert [entry["name"] for entry in metrics["images"]] == ["000", "001", "002", "new"]
    assert before.items() < times(tmp_path / "out").items()
    metrics = infer(*arguments, "trainer.devices=2")  # no process is started for nothing
    assert len(metrics["images"]) == 4


def test_an_image_that_changed_is_done_anew(
    prior: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    arguments = [f"ckpt={prior}", f"input={photos}", f"out={out}"]
    infer(*arguments)
    before = times(out)
    shutil.copy(photos / "000.png", photos / "001.png")
    (photos / "002.png").rename(photos / "002.bmp")  # seeds come from names
    infer(*arguments)
    told = "2 of the finished images changed since and are done anew: 001, 002\n"
    assert told in capsys.readouterr().out
    stay = {name: time for name, time in times(out).items() if time == before[name]}
    assert {name.removeprefix("entries/")[:3] for name in stay} == {"000"}
    infer(*arguments)
    assert "3 of 3 images were finished before and stay" in capsys.readouterr().out


def test_equal_stems_and_names_of_results_get_results_of_their_own(prior: Path, tmp_path: Path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    source = fill(photos, 1) / "000.png"
    for name in ("a.png", "a.jpg", "a.png.png", "metrics.json.png", "a\nb.png", f"{'l' * 247}.png"):
        shutil.copy(source, photos / name)
    images = infer(f"ckpt={prior}", f"input={photos}", f"out={out}", "fit.steps=0")["images"]
    assert len({image["name"] for image in images}) == 7
    assert all((out / image["name"] / "reconstruction.png").is_file() for image in images)


def test_two_runs_do_not_share_a_folder(
    prior: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = [f"ckpt={prior}", f"input={photos}", f"out={tmp_path / 'out'}"]
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"):
        assert "another run is writing to out=" in refusal(capsys, *arguments)
    assert not list((tmp_path / "out").iterdir())


def test_other_settings_are_not_mixed_in(
    prior: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    arguments = [f"ckpt={prior}", f"input={photos}", f"out={out}"]
    infer(*arguments)
    before, settings = times(out), (out / "config.yaml").read_text()
    error = refusal(capsys, *arguments, "fit.steps=3")
    assert f"out={out} holds images made with fit.steps=2, now 3: give overwrite=true" in error
    assert "seed=0, now 1" in refusal(capsys, *arguments, "seed=1")
    assert "task.noise_std=0.098, now 0.1" in refusal(capsys, *arguments, "task.noise_std=0.1")
    alone = [f"ckpt={prior}", f"input={photos / '000.png'}", f"out={out}"]
    assert f"input={photos}, now " in refusal(capsys, *alone)  # would forget the folder's
    assert times(out) == before
    assert (out / "config.yaml").read_text() == settings
    metrics = infer(*arguments, "fit.steps=3", "overwrite=true")
    assert [entry["steps"] for entry in metrics["images"]] == [3, 3, 3]
    assert not set(times(out).items()) & set(before.items())
    infer(*arguments, "fit.steps=3")  # overwrite is no setting of the images


def test_another_prior_under_the_same_name(
    prior: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    ckpt = Path(shutil.copy(prior, tmp_path / "prior.safetensors"))
    arguments = [f"ckpt={ckpt}", f"input={photos}", f"out={tmp_path / 'out'}"]
    infer(*arguments)
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(ckpt, framework="pt") as file:
        tensors = {name: file.get_tensor(name) + 0.01 for name in file.keys()}  # noqa: SIM118
        save_file(tensors, ckpt, metadata=file.metadata())
    assert f"another content of ckpt={ckpt}" in refusal(capsys, *arguments)


def test_one_image_is_always_done_anew(prior: Path, photos: Path, tmp_path: Path):
    arguments = [f"ckpt={prior}", f"out={tmp_path / 'out'}"]
    infer(*arguments, f"input={photos / '000.png'}")
    metrics = infer(*arguments, f"input={photos / '001.png'}", "fit.steps=3")
    assert [(entry["name"], entry["steps"]) for entry in metrics["images"]] == [("001", 3)]
    assert os.listdir(tmp_path / "out" / "entries") == ["001.json"]


def test_one_image_does_not_drop_that_of_an_interrupted_folder(
    prior: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    infer(f"ckpt={prior}", f"input={photos}", f"out={out}", "fit.steps=1")
    for name in ("001", "002"):  # as if killed after the first
        (out / "entries" / f"{name}.json").unlink()
    before = times(out)
    alone = [f"ckpt={prior}", f"out={out}", "fit.steps=2"]
    error = refusal(capsys, *alone, f"input={photos / '001.png'}")
    assert f"out={out} holds images made with " in error
    assert times(out) == before
    infer(*alone, f"input={photos / '000.png'}")  # its own is done anew, as ever


def test_an_image_comes_out_alike_alone_and_in_a_folder(prior: Path, photos: Path, tmp_path: Path):
    folder = infer(f"ckpt={prior}", f"input={photos}", f"out={tmp_path / 'a'}")["images"][2]
    alone = infer(f"ckpt={prior}", f"input={photos / '002.png'}", f"out={tmp_path / 'b'}")
    assert {**folder, "seconds": 0} == {**alone["images"][0], "seconds": 0}


def n_finished(out: Path) -> int:
    return len(list((out / "entries").glob("[!.]*.json")))


def has_finished(out: Path, count: int) -> bool:
    return n_finished(out) >= count


def assert_whole(out: Path, names: list[str]) -> None:
    """Every image has its entry and readable pictures, and nothing else is left."""
    metrics = read_metrics(out)
    assert [entry["name"] for entry in metrics["images"]] == names
    assert {file.stem for file in (out / "entries").iterdir()} == set(names)
    for name in names:
        assert sorted(os.listdir(out / name)) == sorted([*PICTURES, "curves.json"])
        for picture in PICTURES:
            with Image.open(out / name / picture) as image:
                image.load()
    assert not list(out.rglob(".*"))


@pytest.mark.slow  # starts four times
@pytest.mark.parametrize(("devices", "count"), [(1, 200), (2, 80)])
def test_killed_three_times_every_image_is_done_once(
    devices: int,
    count: int,
    prior: Path,
    tmp_path: Path,
    repo: Path,
):
    photos, out = fill(tmp_path / "photos", count), tmp_path / "out"
    arguments = [f"ckpt={prior}", f"input={photos}", f"out={out}", f"trainer.devices={devices}"]
    words = replaced(INFER, [*arguments, "fit.steps=1"])
    done: Times = {}
    for third in range(3):
        at = 1 + int(count * (third + 0.7 * random.random()) / 3)
        with launched("infer", words, repo) as process:
            wait_for(partial(has_finished, out, at), process)
            time.sleep(random.random() / 2)
        print(f"killed with {n_finished(out)} finished")
        assert done.items() <= times(out).items()  # what was finished is untouched
        done = times(out)
    with launched("infer", words, repo) as process:
        assert process.wait(TIMEOUT_S) == 0
    assert done.items() <= times(out).items()
    assert_whole(out, [f"{i:03}" for i in range(count)])
