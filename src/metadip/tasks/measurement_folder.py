"""Measurements of a file or a folder as a data set, with ground truths where they are known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from metadip.data.images import SUFFIXES, image_shape, list_files, read_image
from metadip.data.names import image_names
from metadip.seeding import seed_of_name
from metadip.tasks.measurement_file import READERS, MeasurementFile
from metadip.tasks.measurements import load_measurement
from metadip.tasks.protocol import MeasurementReader
from metadip.types import InverseProblem, UserError

ALL_SUFFIXES = tuple(dict.fromkeys((*READERS, *SUFFIXES)))
# A truth belongs to the measurement that agrees with it in the first of these.
CLOSENESS: tuple[Callable[[Path], object], ...] = (
    lambda path: path,
    lambda path: path.with_suffix(""),
    lambda path: path.stem,
)


class MeasurementFolder(Dataset[InverseProblem]):
    """Read real measurements on demand, ordered by relative path.

    Model:
        A truth belongs to the measurement with the same relative path, the same path but for the
        suffix, or the same stem, whichever is found first; in a folder of truths, one may serve
        several measurements. A problem's seed comes from the name of its file, so that an image is
        solved the same alone and in a folder.
    Args:
        root: a file, or a folder of ``.pt``, ``.npz`` and, if they are measurements, images.
        reader: reads one file: a task or a user's operator.
        truth: an image, a ``.pt`` or ``.npz`` file with ``x``, or a folder of them; None without.
        seed: seed of the run.
    Raises:
        UserError: If there is nothing at ``root``; see also ``match_truths``.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        reader: MeasurementReader,
        truth: str | Path | None,
        seed: int,
    ) -> None:
        if not Path(root).exists():
            raise UserError(f"no measurement file or folder '{root}': check the path")
        suffixes = ALL_SUFFIXES if reader.reads_images else tuple(READERS)
        self.paths = list_files(root, suffixes, what="measurements")
        self.names = image_names(self.paths, root)
        self.truths = [] if truth is None else match_truths(self.paths, root, truth)
        self._reader, self._seed = reader, seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> InverseProblem:
        """Read one measurement, with ordinary tensors even in inference mode."""
        path = self.paths[index]
        with torch.inference_mode(False):
            problem = load_measurement(path, self._reader)
            if self.truths:
                problem = _with_truth(problem, self.truths[index], path)
        seed = seed_of_name(self._seed, path.name)
        return replace(problem, name=self.names[index], seed=seed)

    def check(self, index: int, *, whole: bool) -> None:
        """Reject a bad file, judged by size and image header, or after reading it whole."""
        files = self.files(index)
        for file in files:
            if file.stat().st_size == 0:
                raise UserError(f"{file} is empty (0 bytes): copy it again or remove it")
        sizes = [image_shape(file)[1:] for file in files if file.suffix.lower() not in READERS]
        if self._reader.same_size and len(sizes) == 2 and sorted(sizes[0]) != sorted(sizes[1]):
            raise _unequal(files[1], sizes[1], files[0], sizes[0])
        if whole:
            self[index]

    def files(self, index: int) -> list[Path]:
        """Return the measurement and, if there is one, its truth."""
        return [self.paths[index], *self.truths[index : index + 1]]


def match_truths(paths: Sequence[Path], root: str | Path, truth: str | Path) -> list[Path]:
    """Return the truth of each measurement; a truth in a folder may serve several.

    Raises:
        UserError: If a measurement has no truth or several, or ``truth`` is one file for several
            measurements.
    """
    truth = Path(truth)
    if truth.is_file():
        if len(paths) > 1:
            raise UserError(
                f"truth={truth} is one file for {len(paths)} measurements: give a folder of truths"
            )
        return [truth]
    if not truth.is_dir():
        raise UserError(f"no truth file or folder '{truth}': check the path")
    found = list_files(truth, ALL_SUFFIXES, what="ground truths")
    base = Path(root) if Path(root).is_dir() else Path(root).parent
    tables = [(rule, defaultdict[object, list[Path]](list)) for rule in CLOSENESS]
    for path in found:
        for rule, table in tables:
            table[rule(path.relative_to(truth))].append(path)
    matches = []
    for name in (path.relative_to(base) for path in paths):
        hits = next((table[rule(name)] for rule, table in tables if rule(name) in table), [])
        if len(hits) != 1:
            found_is = f"several truths ({', '.join(map(str, hits[:3]))})" if hits else "no truth"
            raise UserError(f"truth={truth} holds {found_is} of '{name}'")
        matches += hits
    return matches


def _with_truth(problem: InverseProblem, truth: Path, measurement: Path) -> InverseProblem:
    """Return the problem with the ground truth from a file; grey and colour are converted.

    It has the shape of what is shown, see ``InverseProblem.read``, or what that is cropped to.
    """
    shape = tuple(problem.read(torch.zeros(1, *problem.image_shape)).shape[1:])
    if truth.suffix.lower() in READERS:
        file = MeasurementFile(truth)
        x = file.image("x" if truth.suffix.lower() != ".npy" else "y")
    else:
        x = read_image(truth, channels=shape[0] if shape[0] in (1, 3) else None)[None]
    problem = replace(problem, x=x)
    if tuple(x.shape[1:]) != shape and not _is_cropped_to(problem, x):
        raise _unequal(truth, tuple(x.shape[1:]), measurement, shape)
    return problem


def _is_cropped_to(problem: InverseProblem, x: Tensor) -> bool:
    """Return whether what is shown is a part of the image, of the size of its truth."""
    size = problem.image_shape[1:]
    if problem.reading is None or any(a > b for a, b in zip(x.shape[2:], size, strict=True)):
        return False
    try:
        return problem.read(torch.zeros(1, *problem.image_shape)).shape == x.shape
    except (RuntimeError, ValueError):  # other channels
        return False


def _unequal(
    truth: Path, found: Sequence[int], measurement: Path, expected: Sequence[int]
) -> UserError:
    return UserError(
        f"truth '{truth}' has size {tuple(found)}, the image of '{measurement}' {tuple(expected)}"
    )
