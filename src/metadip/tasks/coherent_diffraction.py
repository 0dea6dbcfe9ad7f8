"""Coherent diffraction imaging: a complex object from far-field amplitudes alone."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from metadip.argument_types import Above, Between
from metadip.physics.crystals import LARGEST_RAD, crystal, smooth_field
from metadip.physics.far_field import COMPLEX, FarField, as_parts, magnitude_of
from metadip.physics.noise import CountedAmplitudes, operator_seed
from metadip.physics.operators import ImageShape
from metadip.physics.symmetries import AlignedObject
from metadip.seeding import Stream, generator_of
from metadip.tasks.arguments import as_grey, check_choice, image_shape_of, one_image_shape
from metadip.tasks.measurement_file import MeasurementFile
from metadip.tasks.protocol import Entries
from metadip.types import InverseProblem, UserError

PHASES = (*LARGEST_RAD, "none")
OBJECTS = ("crystal", "image")
LEAST, MOST = 2.0, 8.0  # detector over object, on each axis


@dataclass(frozen=True)
class DiffractionTask:
    """Recover an object from the amplitudes of its far field, y = m |F(pad(x))| with photon noise.

    Model:
        See ``FarField``. The counts of the detector are Poisson with ``photons`` expected in all;
        y is their square root, in the units of the object. Objects have magnitudes in [0, 1]; what
        is shown and scored is the magnitude, aligned to the truth (``AlignedObject``), and the
        relative error of the object and the PSNR of its phase are stated. Each image draws its
        crystal and its phase.
    Args:
        oversampling: side of the detector over that of the object, 2 to 8.
        photons: expected count of the whole pattern, above 0; None for no noise.
        phase: weak (up to pi / 4), strong (up to 2 pi: it wraps), or none: the object is real and
            not negative, and has one channel.
        object: crystal, a convex polygon of magnitude 1, of the size of the picture; or image, the
            grey values of the picture as magnitude.
        beamstop_px: radius of the beamstop in the middle of the detector, 0 for none.
    Raises:
        UserError: If an argument is out of range or unknown.
    References:
        Zhuang et al. (2022), Practical Phase Retrieval Using Double Deep Image Priors,
        arXiv:2211.00799.
    Example:
        >>> task = DiffractionTask(2.0, photons=None, phase="weak", object="crystal", beamstop_px=0)
        >>> problem = task.measure(torch.zeros(1, 1, 16, 20), seed=0)
        >>> problem.y.shape, problem.image_shape
        (torch.Size([1, 1, 32, 40]), (2, 16, 20))
    """

    reads_images: ClassVar[bool] = False
    same_size: ClassVar[bool] = False

    oversampling: float
    _: KW_ONLY
    photons: Annotated[float, Above(0)] | None
    phase: str
    object: str
    beamstop_px: Annotated[float, Between(0)]

    def __post_init__(self) -> None:
        """Check the arguments before anything is measured."""
        if not LEAST <= self.oversampling <= MOST:
            raise UserError(
                f"task.oversampling={self.oversampling} must be {LEAST:g} to {MOST:g}: with fewer "
                "than two samples for each pixel and axis many objects have the same amplitudes"
            )
        if self.photons is not None and not 0 < self.photons < math.inf:
            raise UserError(
                f"task.photons={self.photons} must be above 0, the expected count of the whole "
                "pattern, or null for no noise"
            )
        check_choice(self.phase, PHASES, key="phase")
        check_choice(self.object, OBJECTS, key="object")
        if not 0 <= self.beamstop_px < math.inf:
            raise UserError(f"task.beamstop_px={self.beamstop_px} must be at least 0")

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W), made grey; see ``metadip.types.Task``."""
        _, height, width = one_image_shape(x)
        generator = torch.Generator().manual_seed(operator_seed(seed))
        shape = crystal(height, width, generator=generator).to(x)
        magnitude = shape if self.object == "crystal" else as_grey(x).clamp(min=0)
        phase = smooth_field(height, width, generator=generator).to(x)
        unknown = magnitude
        if self.phase != "none":
            phase = LARGEST_RAD[self.phase] * phase
            unknown = torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], dim=1)
        sides = tuple(math.ceil(self.oversampling * side) for side in (height, width))
        physics = FarField(image_shape_of(unknown), mask=_disc_left_out(sides, self.beamstop_px))
        physics = physics.to(device=x.device, dtype=x.dtype)
        with torch.no_grad():
            y = physics.A(unknown)
            if self.photons is not None:
                physics.noise_model = counting = CountedAmplitudes(
                    self.photons / float(y.square().sum().clamp(min=1e-20))
                ).to(y)
                y = _counted(y, counting, seed=seed)
        return InverseProblem(
            y, physics, image_shape_of(unknown), x=magnitude, name=name, seed=seed,
            reading=AlignedObject(unknown),
        )  # fmt: skip

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read ``y``, amplitudes (M, N) with the zero frequency in the middle, or ``intensity``.

        Model:
            ``image_shape``: (C, H, W) of the object, C = 2, or 1 if it is real; without it, the
            size of the detector over ``oversampling``. ``mask`` (M, N): 1 where it measured.
            ``object``: the true one, complex (H, W), for scores; or ``x``, its magnitude. Divide
            amplitudes so that the object's magnitude is about [0, 1].
        """
        y = _amplitudes(file)
        shape = self._shape(file, y)
        mask = torch.ones_like(y)
        if "mask" in file.content:
            mask = file.floats("mask")
            if mask.shape != y.shape or not bool(((mask == 0) | (mask == 1)).all()):
                raise file.error("mask", f"must be 0 or 1 at each of the {tuple(y.shape)} pixels")
        truth = _object(file, shape)
        x = None if truth is None else magnitude_of(truth)
        if "x" in file.content:
            x = file.image("x")
            if tuple(x.shape[1:]) != (1, *shape[1:]):
                raise file.error("x", f"must be the magnitude {(1, *shape[1:])}")
        return InverseProblem(
            (mask * y)[None, None], FarField(shape, mask=mask), shape, x=x, name=file.path.stem,
            reading=AlignedObject(truth),
        )  # fmt: skip

    @staticmethod
    def write(problem: InverseProblem) -> Entries | None:
        """Return mask, shape and true object, None for other operators."""
        if not isinstance(problem.physics, FarField):
            return None
        entries = {
            "mask": problem.physics.mask.cpu(),
            "image_shape": torch.tensor(problem.image_shape),
        }
        truth = getattr(problem.reading, "truth", None)
        if truth is not None:
            entries["object"] = torch.view_as_complex(
                as_two(truth[0]).movedim(0, -1).contiguous()
            ).cpu()
        return entries

    def check_size(self, image_shape: ImageShape) -> None:
        """Accept any size."""

    def _shape(self, file: MeasurementFile, y: Tensor) -> ImageShape:
        """Return (C, H, W) of the object of a file."""
        if "image_shape" not in file.content:
            height, width = (int(side / self.oversampling) for side in y.shape)
            return (1 if self.phase == "none" else COMPLEX, height, width)
        shape = file.image_shape()
        if shape[0] not in (1, COMPLEX):
            raise file.error("image_shape", f"is {shape}: objects have 1 channel (real) or 2")
        if min(side / n for side, n in zip(y.shape, shape[1:], strict=True)) < LEAST:
            raise file.error(
                "image_shape",
                f"is {shape}, and y {tuple(y.shape)}: with fewer than two samples for each pixel "
                "and axis many objects have the same amplitudes",
            )
        return shape


def as_two(x: Tensor) -> Tensor:
    """Return an object (C, H, W) with real and imaginary part."""
    return x if len(x) == COMPLEX else torch.cat([x, torch.zeros_like(x)])


def _disc_left_out(sides: tuple[int, ...], radius_px: float) -> Tensor:
    """Return a mask that is 0 behind a beamstop around the zero frequency."""
    rows, columns = (torch.arange(side) - side // 2 for side in sides)
    mask = (torch.hypot(rows[:, None].float(), columns.float()) >= radius_px).float()
    if not bool(mask.any()):
        told = " x ".join(map(str, sides))
        raise UserError(f"task.beamstop_px={radius_px:g} hides the whole detector of {told} px")
    return mask


def _counted(amplitude: Tensor, counting: CountedAmplitudes, *, seed: int) -> Tensor:
    """Return the square root of Poisson counts, in the units of the amplitude."""
    per_unit = counting.counts_per_unit.float().cpu()
    expected = per_unit * amplitude.float().cpu().square()
    counts = torch.poisson(expected, generator=generator_of(seed, Stream.NOISE))
    return (counts / per_unit).sqrt().to(amplitude)


def _amplitudes(file: MeasurementFile) -> Tensor:
    """Return the amplitudes (M, N) of a file."""
    key = "intensity" if "intensity" in file.content and "y" not in file.content else "y"
    y = file.floats(key)
    while y.ndim > 2 and len(y) == 1:
        y = y[0]
    if y.ndim != 2 or min(y.shape) < LEAST:
        raise file.error(key, f"must be the detector's pixels (M, N), got {tuple(y.shape)}")
    if bool((y < 0).any()):
        raise file.error(
            key, f"goes down to {float(y.min()):.3g}: counts of light are not negative"
        )
    if not bool(y.any()):
        raise file.error(key, "is zero everywhere: no light was measured")
    return y.sqrt() if key == "intensity" else y


def _object(file: MeasurementFile, shape: ImageShape) -> Tensor | None:
    """Return the true object (1, C, H, W) of a file, if it has one."""
    if "object" not in file.content:
        return None
    truth = file.floats("object", complex_too=True)
    if tuple(truth.shape) != shape[1:]:
        raise file.error("object", f"must have shape {shape[1:]}, got {tuple(truth.shape)}")
    if shape[0] == 1 and truth.is_complex() and bool(truth.imag.any()):
        raise file.error(
            "object", "is complex where a real one is asked for: give image_shape 2 channels, or "
            "leave task.phase=none out",
        )  # fmt: skip
    return as_parts((truth + 0j)[None], shape[0])
