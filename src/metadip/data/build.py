"""The data modules of ``conf/data``: one function per file, whose keys are its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from metadip.data.celeba import CelebA, download_celeba
from metadip.data.datamodule import ImageDataModule, ImageSource, LoaderSettings
from metadip.data.drawn import Ellipses
from metadip.data.folder import ImageFolder
from metadip.data.image_mixture import ImageMixture
from metadip.data.patches import NaturalPatches, SamplePatches
from metadip.data.weights import check_weights
from metadip.types import Task


def celeba_data(
    root: str,
    *,
    download: bool,
    crop_px: int | None,
    size_px: int | None,
    flip: bool,
    loader: LoaderSettings,
    task: Task | None,
    seed: int,
) -> ImageDataModule:
    """Build the data module for CelebA, or for other faces in its layout.

    Args:
        root, crop_px, size_px, flip: see ``CelebA``.
        download: fetch CelebA into ``root`` first, unless it is there.
        loader, task, seed: see ``ImageDataModule``.
    Raises:
        UserError: If the data are bad; raised on first use, see ``CelebA`` and
            ``download_celeba``.
    """
    make = partial(CelebA, root, crop_px=crop_px, size_px=size_px, flip=flip, seed=seed)
    return ImageDataModule(
        partial(make, split="train"),
        val=partial(make, split="val"),
        test=partial(make, split="test"),
        task=task,
        loader=loader,
        seed=seed,
        prepare=partial(download_celeba, root) if download else None,
    )


def folder_data(
    root: str,
    *,
    channels: int,
    crop_px: int | None,
    size_px: int | None,
    flip: bool,
    loader: LoaderSettings,
    task: Task | None,
    seed: int,
) -> ImageDataModule:
    """Build the data module for any folder of images.

    Args:
        root, channels, crop_px, size_px, flip: see ``ImageFolder``.
        loader, task, seed: see ``ImageDataModule``.
    Raises:
        UserError: If the data are bad; raised on first use, see ``ImageFolder``.
    """
    make = partial(
        ImageFolder, root, channels=channels, crop_px=crop_px, size_px=size_px, flip=flip, seed=seed
    )
    return _of_splits(make, loader=loader, task=task, seed=seed)


def natural_data(
    root: str | Sequence[str],
    *,
    size_px: int,
    flip: bool,
    patches_per_image: int,
    loader: LoaderSettings,
    task: Task | None,
    seed: int,
) -> ImageDataModule:
    """Build the data module for random patches of photographs.

    Args:
        root: a folder or a list of folders, see ``NaturalPatches``.
        size_px, flip, patches_per_image: see ``Patches``.
        loader, task, seed: see ``ImageDataModule``.
    Raises:
        UserError: If the data are bad; raised on first use, see ``NaturalPatches``.
    """
    make = partial(
        NaturalPatches,
        root,
        size_px=size_px,
        flip=flip,
        patches_per_image=patches_per_image,
        seed=seed,
    )
    return _of_splits(make, loader=loader, task=task, seed=seed)


def mixture_data(
    sources: Mapping[str, Callable[..., ImageSource]],
    *,
    weights: Mapping[str, float],
    loader: LoaderSettings,
    task: Task | None,
    seed: int,
) -> ImageDataModule:
    """Build the data module for several sources of images.

    Args:
        sources, weights: see ``ImageMixture``.
        loader, task, seed: see ``ImageDataModule``.
    Raises:
        UserError: If ``weights`` are bad or, on first use, the data are; see ``ImageMixture``.
    """
    check_weights(weights, sources, key="data.weights")
    make = partial(ImageMixture, sources, weights=weights, seed=seed)
    return _of_splits(make, loader=loader, task=task, seed=seed)


def sample_data(
    size_px: int, *, flip: bool, loader: LoaderSettings, task: Task | None, seed: int
) -> ImageDataModule:
    """Build the data module for the pictures that ship with scikit-image.

    Args:
        size_px, flip: see ``SamplePatches``.
        loader, task, seed: see ``ImageDataModule``.
    Raises:
        UserError: If the data are bad; raised on first use, see ``SamplePatches``.
    """
    make = partial(SamplePatches, size_px=size_px, flip=flip, seed=seed)
    return _of_splits(make, loader=loader, task=task, seed=seed)


def ellipses_data(
    *, channels: int, size_px: int, loader: LoaderSettings, task: Task | None, seed: int
) -> ImageDataModule:
    """Build the data module for random ellipses, which need no files.

    Args:
        channels, size_px: see ``Ellipses``.
        loader, task, seed: see ``ImageDataModule``.
    Raises:
        ValueError: See ``Ellipses``.
    """
    make = partial(Ellipses, channels=channels, size_px=size_px, seed=seed)
    return _of_splits(make, loader=loader, task=task, seed=seed)


def _of_splits(
    make: Callable[..., ImageSource], *, loader: LoaderSettings, task: Task | None, seed: int
) -> ImageDataModule:
    """Return the data module of a source that is made by the name of its split."""
    train, val, test = (partial(make, split=split) for split in ("train", "val", "test"))
    return ImageDataModule(train, val=val, test=test, task=task, loader=loader, seed=seed)
