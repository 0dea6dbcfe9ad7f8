"""Folders of measurements: what is read when, which truth belongs to which, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metadip.tasks import (
    CompressiveSensingTask,
    DenoisingTask,
    MeasurementFolder,
    MeasurementReader,
)
from metadip.types import UserError

TASK = DenoisingTask(0.1, clip=False)
CS = CompressiveSensingTask(0.5, noise_std=0.0, operator="structured", max_bytes=1)  # no images


def write_image(path: Path, *, size: tuple[int, int] = (6, 5), value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path)
    return path


def write_pt(path: Path, **content: torch.Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content or {"y": torch.rand(3, 5, 6)}, path)
    return path


def folder_of(
    root: Path, *, truth: Path | None = None, reader: MeasurementReader = TASK
) -> MeasurementFolder:
    return MeasurementFolder(root, reader=reader, truth=truth, seed=0)


def test_a_folder_may_mix_kinds_of_files(tmp_path: Path):
    write_image(tmp_path / "b.png")
    write_pt(tmp_path / "a.pt")
    np.savez(tmp_path / "c.npz", y=np.zeros((1, 5, 6), dtype=np.float32))
    write_image(tmp_path / ".hidden.png")
    (tmp_path / "notes.txt").write_text("no measurement")
    folder = folder_of(tmp_path)
    assert folder.names == ["a", "b", "c"]
    assert [folder[i].image_shape[0] for i in range(len(folder))] == [3, 3, 1]
    assert [folder[i].x for i in range(3)] == [None] * 3
    assert folder_of(tmp_path, reader=CS).names == ["a", "c"]


def test_equal_stems_do_not_collide(tmp_path: Path):
    for name in ("a.png", "a.jpg", "x/a.png", "B.png", "x/b.png", "entries.png"):
        write_image(tmp_path / name)
    names = folder_of(tmp_path).names
    assert names == ["B.png", "a.jpg", "a.png", "entries.png", "x__a.png", "x__b.png"]
    assert len({name.casefold() for name in names}) == 6
    assert folder_of(tmp_path / "entries.png").names == ["entries.png"]


def test_a_problem_does_not_depend_on_its_neighbours(tmp_path: Path):
    for name in "abc":
        write_pt(tmp_path / f"{name}.pt")
    together, alone = folder_of(tmp_path)[1], folder_of(tmp_path / "b.pt")[0]
    assert together.seed == alone.seed
    assert len({folder_of(tmp_path)[i].seed for i in range(3)}) == 3
    torch.testing.assert_close(together.y, alone.y)


def test_tensors_are_ordinary_in_inference_mode(tmp_path: Path):
    write_image(tmp_path / "a.png")
    with torch.inference_mode():
        problem = folder_of(tmp_path, truth=tmp_path)[0]
    assert problem.x is not None
    sigma = problem.physics.noise_model.sigma
    assert not any(t.is_inference() for t in (problem.x, problem.y, sigma))


def test_truths_are_matched_by_name(tmp_path: Path):
    for name in ("a.png", "x/b.pt", "x/c.png", "d.png"):
        path = tmp_path / "y" / name
        (write_pt if path.suffix == ".pt" else write_image)(path)
    truth = tmp_path / "truth"
    write_image(truth / "a.png", value=1)  # the same path, before a.jpg
    write_image(truth / "a.jpg", value=2)
    write_image(truth / "x" / "b.png", value=3)  # the same but for the suffix
    write_pt(truth / "x" / "c.pt", x=torch.full((3, 5, 6), 4 / 255))
    write_image(truth / "deep" / "d.png", value=5)  # the same stem
    folder = folder_of(tmp_path / "y", truth=truth)
    levels = [round(255 * float(folder[i].x.mean())) for i in range(4)]  # type: ignore[union-attr]
    assert dict(zip(folder.names, levels, strict=True)) == {"a": 1, "d": 5, "b": 3, "c": 4}


def test_one_truth_of_a_folder_may_serve_several(tmp_path: Path):
    for name in ("low/a.png", "high/a.png"):
        write_image(tmp_path / "y" / name)
    truth = write_image(tmp_path / "truth" / "a.png")
    assert folder_of(tmp_path / "y", truth=truth.parent).truths == [truth, truth]


def test_one_file_is_matched_with_one_whatever_they_are_called(tmp_path: Path):
    noisy, clean = write_image(tmp_path / "y.png"), write_image(tmp_path / "x.png", value=7)
    assert folder_of(noisy, truth=clean)[0].x is not None
    with pytest.raises(UserError, match=r"x\.png is one file for 2 measurements: give a folder"):
        folder_of(tmp_path, truth=clean)


def test_a_grey_truth_of_a_colour_measurement_is_repeated(tmp_path: Path):
    noisy = write_image(tmp_path / "y.png")
    Image.new("L", (6, 5), 51).save(tmp_path / "x.png")
    x = folder_of(noisy, truth=tmp_path / "x.png")[0].x
    torch.testing.assert_close(x, torch.full((1, 3, 5, 6), 0.2))


def test_missing_and_ambiguous_truths(tmp_path: Path):
    write_image(tmp_path / "y" / "a.png")
    write_image(tmp_path / "truth" / "b.png")
    with pytest.raises(UserError, match=r"truth=.*truth holds no truth of 'a\.png'"):
        folder_of(tmp_path / "y", truth=tmp_path / "truth")
    for folder in ("one", "two"):
        write_image(tmp_path / "truth" / folder / "a.png")
    with pytest.raises(UserError, match=r"holds several truths \(.*one/a\.png, .*\) of 'a\.png'"):
        folder_of(tmp_path / "y", truth=tmp_path / "truth")
    with pytest.raises(UserError, match=r"no truth file or folder '.*nowhere'"):
        folder_of(tmp_path / "y", truth=tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no measurement file or folder '.*nowhere'"):
        folder_of(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no measurements: it needs files ending in \.pt"):
        folder_of(tmp_path / "empty")


@pytest.mark.parametrize("whole", [False, True])
def test_a_truth_of_another_size(whole: bool, tmp_path: Path):
    noisy = write_image(tmp_path / "y" / "a.png")
    clean = write_image(tmp_path / "x" / "a.png", size=(7, 5))
    folder = folder_of(tmp_path / "y", truth=tmp_path / "x")
    with pytest.raises(UserError, match=r"truth '.*' has size .*, the image of '.*' ") as caught:
        folder.check(0, whole=whole)
    assert str(noisy) in str(caught.value)
    assert str(clean) in str(caught.value)
    assert "\n" not in str(caught.value)
    truth = write_pt(tmp_path / "x.pt", x=torch.rand(3, 5, 7))
    with pytest.raises(UserError, match=r"x\.pt' has size \(3, 5, 7\), .* \(3, 5, 6\)"):
        folder_of(noisy, truth=truth)[0]


def test_checks_by_header_and_whole(tmp_path: Path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.png"
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    folder = folder_of(tmp_path)
    folder.check(0, whole=False)
    with pytest.raises(UserError, match=r"cannot read '.*a\.png' as an image"):
        folder.check(0, whole=True)
    path.write_text("this is text")
    with pytest.raises(UserError, match=r"cannot read '.*a\.png' as an image"):
        folder.check(0, whole=False)
    path.unlink()
    (tmp_path / "b.pt").touch()
    with pytest.raises(UserError, match=r"b\.pt is empty \(0 bytes\)"):
        folder_of(tmp_path).check(0, whole=False)
