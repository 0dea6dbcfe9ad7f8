"""Mistakes with two unknowns end in one line and exit code 2, and nothing is written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import infer
from metadip import command_line

BLIND = ["task=blind_deblur", "method=double_dip"]
PHOTO = ["measurement={}/photo.png"]
CDI = ["task=cdi", "method=hio"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of pictures and measurements, ``{}`` in the arguments below."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for name, size in (("image", (24, 20)), ("photo", (24, 20))):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{name}.png")
    light = rng.random((16, 16)).astype(np.float32)
    np.savez(folder / "negative.npz", intensity=light - 0.5)
    np.savez(folder / "complex.npz", y=light + 1j * light)
    np.savez(folder / "object.npz", y=light, object=light[:8, :8] * 1j, image_shape=(1, 8, 8))
    np.savez(folder / "small.npz", y=light, image_shape=(2, 12, 12))
    np.savez(folder / "dark.npz", y=0 * light)
    np.savez(folder / "mask.npz", y=light, mask=light)
    np.savez(folder / "black.npz", y=-light)
    np.savez(folder / "kernel.npz", filter=np.full((3, 3), 1, dtype=np.float32))
    return folder


# What is wrong -> the settings, and a part of the complaint.
BAD = {
    "kernel of even size": (
        [*BLIND, "task.kernel_px=8", "input={}/image.png"],
        "task.kernel_px=8 must be an odd number of pixels",
    ),
    "kernel larger than the image": (
        [*BLIND, "task.kernel_px=31", "input={}/image.png"],
        "task.kernel_px=31: a kernel of 31 x 31 px does not fit in an image of 24 x 20 px",
    ),
    "grid of even size": (
        [*BLIND, "method.kernel_px=6", "input={}/image.png"],
        "method.kernel_px=6 must be an odd number of pixels",
    ),
    "y smaller than the kernel": (
        [*BLIND, "method.kernel_px=25", *PHOTO],
        "method.kernel_px=25 is larger than what was measured, 24 x 20 px",
    ),
    "kernel that nobody knows": (
        ["task=blind_deblur", "task.known=true", "method=wiener", *PHOTO],
        "task.known=true needs the kernel of this measurement",
    ),
    "kernel of sum 9": (
        [*BLIND, "task.kernel={}/kernel.npz", "input={}/image.png"],
        "sums to 9: divide the kernel by its sum",
    ),
    "kernel without that name": (
        [*BLIND, "task.kernel=gaussiann", "input={}/image.png"],
        "did you mean gaussian?",
    ),
    "negative photograph": ([*BLIND, "measurement={}/black.npz"], "light is not negative"),
    "method that needs the kernel": (
        ["task=blind_deblur", "method=dip", "input={}/image.png"],
        "task=blind_deblur hides the blur kernel from methods: use method=l0_wiener, l0_dip",
    ),
    "blind method without a blur": (
        ["task=denoise", "method=double_dip", "input={}/image.png"],
        "this method undoes an unknown blur (task=blind_deblur), not task=denoise",
    ),
    "restarts of blind deblurring": (
        [*BLIND, "method.restarts=3", "input={}/image.png"],
        "unknown setting 'method.restarts'",
    ),
    "too few samples": (
        [*CDI, "task.oversampling=1.5", "input={}/image.png"],
        "with fewer than two samples for each pixel and axis many objects have the same",
    ),
    "no photons": ([*CDI, "task.photons=0", "input={}/image.png"], "task.photons=0 must be"),
    "unknown phase": ([*CDI, "task.phase=week", "input={}/image.png"], "did you mean weak?"),
    "counts below 0": ([*CDI, "measurement={}/negative.npz"], "counts of light are not negative"),
    "complex amplitudes": (
        [*CDI, "measurement={}/complex.npz"],
        "y must be an array of real floating-point numbers",
    ),
    "complex object where a real one is asked for": (
        [*CDI, "measurement={}/object.npz"],
        "object is complex where a real one is asked for",
    ),
    "detector too small": ([*CDI, "measurement={}/small.npz"], "image_shape is (2, 12, 12), and y"),
    "no light": ([*CDI, "measurement={}/dark.npz"], "is zero everywhere: no light was measured"),
    "mask between 0 and 1": ([*CDI, "measurement={}/mask.npz"], "mask must be 0 or 1 at each"),
    "HIO without a far field": (
        ["task=denoise", "method=hio", "input={}/image.png"],
        "method=hio and raar find objects from their far field (task=cdi), not task=denoise",
    ),
    "kernel of a far field": (
        ["task=cdi", "method=double_dip", "method.kernel_px=5", "input={}/image.png"],
        "unknown setting 'method.kernel_px'",
    ),
    "no restarts": (
        ["task=cdi", "method=double_dip", "method.restarts=0", "input={}/image.png"],
        "method.restarts=0 must be at least 1",
    ),
}


def test_a_grid_may_be_larger_than_what_is_left_of_the_small_example(files: Path, tmp_path: Path):
    """Methods are tried on a picture of 16 px before anything is read, of which 6 px are left."""
    words = ["method=richardson_lucy", "method.iterations=1", "method.kernel_px=9"]
    out = tmp_path / "out"
    settings = [*words, "task=blind_deblur", f"input={files}/image.png", f"out={out}",
                "progress=false"]  # fmt: skip
    assert command_line.main("infer", infer.run, settings) == 0
    kernel = np.load(out / "kernel.npy")
    assert kernel.shape == (9, 9)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert (out / "kernel.png").is_file()


@pytest.mark.parametrize("what", BAD)
def test_a_mistake_ends_in_one_line(
    what: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words, part = BAD[what]
    out = tmp_path / "out"
    settings = [*(word.format(files) for word in words), f"out={out}", "progress=false"]
    assert command_line.main("infer", infer.run, settings) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert part in error
    assert not out.exists()
