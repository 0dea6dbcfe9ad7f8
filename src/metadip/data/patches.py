"""Random patches of photographs: from folders, or from the pictures that ship with scikit-image."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from metadip.data.images import ImageError, read_image, resize
from metadip.data.names import image_names
from metadip.data.splits import SPLITS, check_split, images_of_split, split_folder
from metadip.seeding import SampleKey, as_key, generator_of
from metadip.types import CleanImage, UserError

COLLECTIONS = ("BSDS500", "Waterloo", "DIV2K", "Flickr2K")
PICTURES = {  # both views of the motorcycle are one scene and stay in one split
    "train": (
        "coffee.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
        "rocket.jpg",
    ),
    "val": ("chelsea.png",),
    "test": ("astronaut.png",),
}
SAMPLE_PATCHES = 16  # per picture
FACE_TOP, FACE_LEFT, FACE_SIDE = 70, 175, 100  # px of the astronaut's face, as tight as CelebA's
FIXED_SEED = 0  # not the run's seed: every run is judged on the same patches


class Patches(Dataset[CleanImage]):
    """Cut square patches out of image files.

    Model:
        Item i is a patch of image i mod (number of images). In training, its position and, with
        ``flip``, one of the eight turns and mirrorings are drawn by (seed, epoch, i), with
        ``shrink`` below 1 also how much smaller the image is made before, and with
        ``permute_colours`` the order of the channels; in validation and test, the position depends
        on i alone and nothing else is changed.
    Shape:
        Item: ``x`` (3, size_px, size_px).
    Args:
        paths: the image files, at least one.
        names: one per file; the number of the patch is appended if an image gives several.
        split: train, val or test.
        size_px: side of a patch, at least 1.
        flip: turn and mirror training patches.
        patches_per_image: length of the data set divided by the number of images, at least 1.
        seed: seed of the random choices in training.
        shrink: smallest factor on the sides of a training image, in (0, 1]; small images are made
            smaller only as far as a patch allows.
        permute_colours: exchange the channels of training patches.
    Raises:
        ValueError: If ``split`` is unknown, ``paths`` is empty, ``size_px`` or
            ``patches_per_image`` is below 1, or ``shrink`` is not in (0, 1].
        IndexError: If an item is outside [0, length).
        UserError: If a drawn image is smaller than ``size_px`` or cannot be read.
    Cost: decodes a whole image per patch, about 10 ms per megapixel.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        names: Sequence[str],
        split: str,
        size_px: int,
        flip: bool,
        patches_per_image: int,
        seed: int,
        shrink: float = 1.0,
        permute_colours: bool = False,
    ) -> None:
        if not 0 < shrink <= 1:
            raise ValueError(f"shrink must be in (0, 1], got {shrink}")
        if not paths or size_px < 1 or patches_per_image < 1:
            raise ValueError(
                f"{len(paths)} images, size_px {size_px}, patches_per_image {patches_per_image}: "
                "each must be at least 1"
            )
        self.paths, self.names = list(paths), list(names)
        self.training = check_split(split) == "train"
        self.size_px, self.flip = size_px, flip
        self.patches_per_image, self.seed = patches_per_image, seed
        self.shrink = shrink if self.training else 1.0
        self.permute_colours = permute_colours and self.training

    def __len__(self) -> int:
        return len(self.paths) * self.patches_per_image

    def __getitem__(self, key: SampleKey | int) -> CleanImage:
        """Cut one patch; a plain integer means epoch 0."""
        epoch, index = as_key(key)
        if not 0 <= index < len(self):
            raise IndexError(f"patch {index} of {len(self)}")
        number, image = divmod(index, len(self.paths))
        path = self.paths[image]
        parts = (self.seed, epoch, index) if self.training else (FIXED_SEED, index)
        generator = generator_of(*parts)
        x = read_image(path)
        size_px = self.size_px
        if self.shrink < 1:
            factor = self.shrink + (1 - self.shrink) * torch.rand((), generator=generator).item()
            size_px = max(min(round(size_px / factor), *x.shape[-2:]), size_px)
        x = random_patch(x, size_px, generator, name=str(path))
        x = x if size_px == self.size_px else resize(x, self.size_px)
        if self.training and self.flip:
            x = random_turn(x, generator)
        if self.permute_colours:
            x = x[torch.randperm(len(x), generator=generator)]
        suffix = f"_{number}" if self.patches_per_image > 1 else ""
        return CleanImage(x, index, self.names[image] + suffix, epoch)


def random_patch(x: Tensor, size: int, generator: torch.Generator, *, name: str) -> Tensor:
    """Cut a square of ``size`` pixels out of (C, H, W), all positions equally likely.

    Raises:
        UserError: If the image is smaller than the patch.
    """
    height, width = x.shape[-2:]
    if size > min(height, width):
        raise ImageError(
            f"image '{name}' is {width}x{height} px, smaller than the patch of {size} px: "
            "lower image_size (size_px), or remove the image"
        )
    top = int(torch.randint(height - size + 1, (), generator=generator))
    left = int(torch.randint(width - size + 1, (), generator=generator))
    return x[..., top : top + size, left : left + size].contiguous()


def random_turn(x: Tensor, generator: torch.Generator) -> Tensor:
    """Apply one of the eight symmetries of the square to (C, S, S), all equally likely."""
    turn = int(torch.randint(8, (), generator=generator))
    x = x.rot90(turn % 4, (-2, -1))
    return (x.flip(-1) if turn >= 4 else x).contiguous()


class NaturalPatches(Dataset[CleanImage]):
    """Cut patches out of one or several folders of photographs; see ``Patches``.

    Model:
        A list of folders is used as given. A single folder stands for its subfolders BSDS500,
        Waterloo, DIV2K and Flickr2K, those that exist, or for itself if it has split folders. Each
        folder is split by its own ``train``, ``val`` and ``test`` (also ``images/train``,
        ``DIV2K_train_HR`` ...), else by ``images_of_split``.
    Args:
        roots: a folder, or a list of folders.
        split, size_px, flip, patches_per_image, seed, shrink, permute_colours: see ``Patches``.
    Raises:
        ValueError: If an argument is out of range; see ``Patches``.
        UserError: If a folder is missing or empty, none of the default subfolders exists, or no
            folder has images for this split.
    References: Martin et al. (2001), BSDS; Ma et al. (2017), Waterloo Exploration Database;
        Agustsson and Timofte (2017), DIV2K; Lim et al. (2017), Flickr2K, arXiv:1707.02921.
    """

    def __init__(
        self,
        roots: str | Path | Sequence[str | Path],
        *,
        split: str,
        size_px: int,
        flip: bool,
        patches_per_image: int,
        seed: int,
        shrink: float = 1.0,
        permute_colours: bool = False,
    ) -> None:
        paths: list[Path] = []
        names: list[str] = []
        folders = natural_folders(roots)
        for folder in folders:
            found = images_of_split(folder, check_split(split))
            paths += found
            names += image_names(found, folder)
        if not paths:
            listed = ", ".join(f"'{folder}'" for folder in folders)
            raise UserError(
                f"no images for {split} in {listed}: add a folder '{folders[0] / split}'"
            )
        if len(set(names)) < len(names):
            names = [f"{i:05d}_{name}" for i, name in enumerate(names)]
        self._patches = Patches(
            paths,
            names=names,
            split=split,
            size_px=size_px,
            flip=flip,
            patches_per_image=patches_per_image,
            seed=seed,
            shrink=shrink,
            permute_colours=permute_colours,
        )

    def __len__(self) -> int:
        return len(self._patches)

    def __getitem__(self, key: SampleKey | int) -> CleanImage:
        """Cut one patch; a plain integer means epoch 0."""
        return self._patches[key]


def natural_folders(roots: str | Path | Sequence[str | Path]) -> list[Path]:
    """List the folders to read; see ``NaturalPatches``.

    Raises:
        UserError: If ``roots`` is an empty list, an item of it is not a folder, or a single folder
            has neither split folders nor any of ``COLLECTIONS``.
    """
    if not isinstance(roots, str | Path):
        folders = [Path(root) for root in roots]
        missing = [folder for folder in folders if not folder.is_dir()]
        if missing or not folders:
            raise UserError(
                f"no folder '{missing[0] if missing else ''}' of photographs: check data.root"
            )
        return folders
    root = Path(roots)
    found = [root / name for name in COLLECTIONS if (root / name).is_dir()]
    if found or any(split_folder(root, split) for split in SPLITS):
        return found or [root]
    raise UserError(
        f"no photographs in '{root}': it needs a subfolder {', '.join(COLLECTIONS)}, "
        "or train, val and test; set data.root, or use data=folder or data=sample"
    )


class SamplePatches(Dataset[CleanImage]):
    """Cut patches out of the pictures in scikit-image's wheel, so that training runs anywhere.

    Model:
        Train: coffee, Hubble deep field, immunohistochemistry, motorcycle, rocket. Val: the cat
        Chelsea. Test: the astronaut. Sixteen patches per picture; see ``Patches``.
    Args:
        split, size_px, flip, seed: see ``Patches``.
    Raises:
        ValueError: If ``split`` is unknown or ``size_px`` is below 1.
        UserError: If scikit-image was installed without its pictures, or one is smaller than
            ``size_px``.
    """

    def __init__(self, *, split: str, size_px: int, flip: bool, seed: int) -> None:
        paths = [sample_picture(name) for name in PICTURES[check_split(split)]]
        self._patches = Patches(
            paths,
            names=[path.stem for path in paths],
            split=split,
            size_px=size_px,
            flip=flip,
            patches_per_image=SAMPLE_PATCHES,
            seed=seed,
        )

    def __len__(self) -> int:
        return len(self._patches)

    def __getitem__(self, key: SampleKey | int) -> CleanImage:
        """Cut one patch; a plain integer means epoch 0."""
        return self._patches[key]


def sample_picture(name: str) -> Path:
    """Return the path of a picture that ships with scikit-image, such as ``astronaut.png``.

    Raises:
        UserError: If the installed scikit-image has no such file.
    """
    spec = find_spec("skimage")
    path = Path(spec.origin or "").parent / "data" / name if spec else Path(name)
    if not path.is_file():
        raise UserError(
            f"scikit-image lacks its picture '{name}': install its wheel, version 0.26 or later"
        )
    return path


def sample_face(size_px: int) -> Tensor:
    """Return the astronaut's face, (3, size_px, size_px).

    Raises:
        UserError: If the picture is missing; see ``sample_picture``.
    """
    picture = read_image(sample_picture("astronaut.png"))
    rows, columns = (slice(low, low + FACE_SIDE) for low in (FACE_TOP, FACE_LEFT))
    return resize(picture[:, rows, columns], size_px)
