"""Reading image files of every kind, and refusing bad ones in one line."""

from __future__ import annotations

import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch._utils import ExceptionWrapper

from metadip.data import (
    ImageError,
    centre_crop,
    crop_and_resize,
    image_names,
    image_shape,
    list_images,
    read_image,
    resize,
)
from metadip.types import UserError

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14  # (H, W, 3)


def save(path: Path, values: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(values)
    (image if mode is None else image.convert(mode)).save(path)
    return path


def png16(path: Path, values: np.ndarray, colour_type: int) -> Path:
    """Write (H, W, C) 16-bit values as a PNG, which Pillow cannot."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def to_tensor(values: np.ndarray, scale: float = 255.0) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float64) / scale).permute(2, 0, 1).float()


def test_rgb_is_divided_by_255(tmp_path: Path) -> None:
    x = read_image(save(tmp_path / "a.png", RGB))
    assert x.dtype == torch.float32
    assert x.shape == (3, 2, 3)
    assert torch.allclose(x, to_tensor(RGB))


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_is_repeated(tmp_path: Path, mode: str) -> None:
    x = read_image(save(tmp_path / "a.png", RGB[..., 0] // 128 * 255, mode))
    expected = torch.from_numpy(RGB[..., 0] // 128).float()
    assert torch.equal(x, expected.expand(3, -1, -1))
    assert read_image(tmp_path / "a.png", channels=1).shape == (1, 2, 3)


def test_palette_becomes_rgb(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 51, 255])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=0)
    expected = to_tensor(np.array([[[255, 0, 0], [0, 51, 255]]]))
    assert torch.allclose(read_image(tmp_path / "a.png"), expected)


def test_alpha_is_ignored(tmp_path: Path) -> None:
    alpha = np.zeros((2, 3, 1), np.uint8)
    x = read_image(save(tmp_path / "a.png", np.concatenate([RGB, alpha], axis=2)))
    assert torch.allclose(x, to_tensor(RGB))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert torch.allclose(read_image(tmp_path / "a.tif")[:, 0, 0], torch.tensor([1.0, 0, 0]))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_keeps_its_16_bits(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 1, 257], [300, 40000, 65535]], np.uint16)
    x = read_image(save(tmp_path / f"a{suffix}", values))
    assert torch.allclose(x, to_tensor(values[..., None], 65535.0).expand(3, -1, -1), rtol=1e-6)
    assert x[0, 0, 1] > 0


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_16_bit_colour_keeps_its_16_bits(tmp_path: Path, colour_type: int, channels: int) -> None:
    values = (np.arange(2 * 3 * channels).reshape(2, 3, channels) * 2711 + 1).astype(np.uint16)
    x = read_image(png16(tmp_path / "a.png", values, colour_type))
    colours = values[..., :3] if channels > 2 else values[..., :1].repeat(3, axis=2)
    assert torch.allclose(x, to_tensor(colours, 65535.0), rtol=1e-6)


def test_float_tiff_is_taken_as_it_is(tmp_path: Path) -> None:
    x = read_image(save(tmp_path / "a.tif", np.array([[0.0, 0.25, 1.0]], np.float32)))
    assert x[0, 0].tolist() == [0.0, 0.25, 1.0]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side, to be turned clockwise
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    assert torch.allclose(read_image(tmp_path / "a.png"), to_tensor(RGB).rot90(-1, (-2, -1)))


def test_one_channel_is_luminance(tmp_path: Path) -> None:
    x = read_image(save(tmp_path / "a.png", RGB), channels=1)
    r, g, b = to_tensor(RGB)
    assert torch.allclose(x[0], 0.299 * r + 0.587 * g + 0.114 * b)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_the_file_tells_its_own_shape(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (5, 4)).save(path)
    channels = 1 if mode in ("1", "L", "LA", "I;16") else 3
    assert image_shape(path) == read_image(path, channels=None).shape == (channels, 4, 5)


def test_a_header_tells_without_decoding(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    path.write_bytes(path.read_bytes()[:1000])
    assert image_shape(path) == (1, 64, 64)
    with pytest.raises(ImageError, match=r"cannot read '.*a\.png' as an image"):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"a\.png' is empty"):
        image_shape(path)


def test_channels_other_than_1_and_3_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"channels is 2, must be 1 or 3"):
        read_image(save(tmp_path / "a.png", RGB), channels=2)


def _bad_files(folder: Path) -> dict[str, str]:
    """Write files that are no good images; return what the error says of each."""
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not an image at all")
    whole = save(folder / "whole.jpg", np.tile(RGB, (40, 40, 1))).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    png = save(folder / "whole.png", np.tile(RGB, (40, 40, 1))).read_bytes()
    (folder / "cut.png").write_bytes(png[: len(png) // 2])
    deep = png16(folder / "deep.png", np.zeros((9, 9, 3), np.uint16), 2).read_bytes()
    (folder / "cut16.png").write_bytes(deep[: len(deep) // 2])
    save(folder / "hdr.tif", np.array([[3.0, -1.0]], np.float32))
    return {
        "missing.png": "no image file '.*missing.png': check the path",
        "empty.png": r"'.*empty.png' is empty \(0 bytes\): copy it again",
        "text.png": "cannot read '.*text.png' as an image .*: .* replace or remove it",
        "cut.jpg": "cannot read '.*cut.jpg' as an image .*: .* replace or remove it",
        "cut.png": "cannot read '.*cut.png' as an image .*: .* replace or remove it",
        "cut16.png": "cannot read '.*cut16.png' as an image .*: .* replace or remove it",
        "hdr.tif": "'.*hdr.tif' has values outside .*: rescale it",
    }


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    for name, text in _bad_files(tmp_path).items():
        with pytest.raises(UserError, match=text) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_error_of_a_worker_stays_one_line() -> None:
    try:
        raise ImageError("image 'a: b' is bad: remove it")
    except ImageError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(UserError) as caught:
        pickle.loads(pickle.dumps(wrapped)).reraise()
    assert str(caught.value) == "image 'a: b' is bad: remove it"


def test_list_is_recursive_and_sorted_by_relative_path(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/1.PNG", "c.jpg", "a.png", ".hidden.png", "note.txt"):
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in list_images(tmp_path)] == [
        "a.png",
        "b/1.PNG",
        "c.jpg",
    ]
    assert list_images(tmp_path / "a.png") == [tmp_path / "a.png"]


def test_list_refuses_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder '.*nowhere': check the path"):
        list_images(tmp_path / "nowhere")
    (tmp_path / "note.txt").touch()
    with pytest.raises(UserError, match=r"holds no images: it needs files ending in .png"):
        list_images(tmp_path)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match=r"holds no images"):
        list_images(tmp_path)


def test_names_are_unique() -> None:
    root = Path("r")
    names = image_names([root / "a/1.png", root / "b/1.png", root / "b/2.png"], root)
    assert names == ["a__1.png", "b__1.png", "2"]
    names = image_names([root / "A.png", root / "a.jpg", root / "entries.png"], root)
    assert names == ["A.png", "a.jpg", "entries.png"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            ["a.jpg", "a.jpg.bmp", "a.png", "a.png.png"],
            ["a.jpg", "a.jpg.bmp", "a.png", "a.png.png"],
        ),
        (
            ["sub/a.png", "sub__a.png", "sub__a.jpg", "a.png"],
            ["sub__a.png", "sub__a.png.2", "sub__a.jpg", "a.png"],
        ),
        (["sub/a.png", "a.png", "sub__a.png.png"], ["sub__a.png", "a.png", "sub__a.png.png"]),
        (["metrics.json.png", "b.png"], ["metrics.json.png", "b"]),
        (["Contact_sheet.png.png"], ["Contact_sheet.png.png"]),
        (["entries"], ["entries.2"]),
        (["a\nb.png", "a_b.png"], ["a_b.png", "a_b.png.2"]),
        (["a\udcff.png"], ["a_"]),
    ],
)
def test_names_differ_whatever_the_files_are_called(files: list[str], expected: list[str]) -> None:
    assert image_names([Path("r") / file for file in files], "r") == expected


def test_any_name_fits_beside_what_results_add_to_it(tmp_path: Path) -> None:
    long = [f"{'ä' * 120}{end}.png" for end in "xy"]
    names = image_names([tmp_path / name for name in long], tmp_path)
    assert len({*names}) == 2
    assert all(len(name.encode()) <= 150 and name.isprintable() for name in names)
    (tmp_path / f"{names[0]}.json").touch()


def test_crop_is_central() -> None:
    x = torch.arange(30.0).view(1, 5, 6)
    assert torch.equal(centre_crop(x, 3), x[:, 1:4, 1:4])
    assert torch.equal(crop_and_resize(x, None, None, "a"), x)
    assert torch.equal(crop_and_resize(x, 3, None, "a"), x[:, 1:4, 1:4])
    assert crop_and_resize(x.clamp(0, 1), None, 2, "a").shape == (1, 2, 2)


@pytest.mark.parametrize("size", [0, 6])
def test_crop_that_does_not_fit_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"crop of {size} px does not fit in an image of 5x6"):
        centre_crop(torch.zeros(1, 5, 6), size)


def test_resize_averages_when_it_shrinks() -> None:
    checker = (torch.arange(64).view(8, 8) % 2 + torch.arange(8).view(8, 1) % 2) % 2
    x = resize(checker[None].float(), 2)
    assert torch.allclose(x, torch.full((1, 2, 2), 0.5), atol=0.05)
    assert torch.equal(resize(x, 2), x)
    with pytest.raises(ValueError, match=r"size is 0 px, must be at least 1"):
        resize(x, 0)


def test_image_smaller_than_the_crop_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"'a.png' is 6x5 px, smaller than crop_px=7: lower crop_px"
    ):
        crop_and_resize(torch.zeros(1, 5, 6), 7, None, "a.png")
