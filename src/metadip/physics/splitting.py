"""Measurements of any deepinv operator as one inverse problem per image."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import torch
from deepinv.physics import LinearPhysics, Physics
from torch import Tensor, nn

from metadip.types import InverseProblem, UserError

logger = logging.getLogger(__name__)

Measured: TypeAlias = Tensor | Sequence[Tensor]  # deepinv's TensorList is like a sequence
ImageShape: TypeAlias = tuple[int, int, int]
Module = TypeVar("Module", bound=nn.Module)
BRIGHT = 10.0  # [0, 1] plus any allowed noise stays below; 0 to 255 does not
SAME = 1e-5  # relative distance of two measurements that differ by rounding alone


def split(
    y: Measured, physics: Physics, *, image_shape: ImageShape | None = None, seed: int = 0
) -> list[InverseProblem]:
    """Return one problem per image of a batch; image i has ``seed + i``.

    An operator whose parameters have a row per image (masks, kernels, noise levels) becomes one
    operator per image, each with its own row; any other is shared. A measurement of several
    tensors, such as that of ``deepinv.physics.StackedPhysics``, becomes a vector.

    A message is logged if images of y seem to be in 0 to 255 instead of 0 to 1.

    Raises:
        ValueError: If the image shape cannot be inferred from ``y`` and ``physics``.
        UserError: If y is not of finite floating-point numbers, or the image has no pixels.
    """
    check_measured(y)
    with torch.inference_mode(False), torch.no_grad():
        if any(tensor.is_inference() for tensor in _tensors(physics)):  # autograd rejects them
            physics = _map_tensors(physics, lambda t: t.clone() if t.is_inference() else t)
        shape = image_shape or image_shape_of(y, physics)
        if min(shape) < 1:
            raise UserError(f"the image of y has no pixels: (C, H, W) is {tuple(shape)}")
        if isinstance(y, Tensor) and y.shape[1:] == shape and y.abs().max() > BRIGHT:
            logger.warning("y reaches %.3g: images are expected in 0 to 1", y.abs().max())
        physics = sized(physics, shape)
        if not isinstance(y, Tensor):
            physics, y = Flattened(physics), flatten(y)
        operators = operators_of(physics, len(y), shape, like=y)
        return [
            InverseProblem(y[i : i + 1], operator, shape, seed=seed + i)
            for i, operator in enumerate(operators)
        ]


def check_measured(y: Measured) -> None:
    """Reject measurements that are no finite floating-point numbers.

    Raises:
        UserError: If there is one; the message says what it is.
    """
    for part in [y] if isinstance(y, Tensor) else y:
        if not (part.is_floating_point() or part.is_complex()):
            raise UserError(
                f"y is of {part.dtype}: give floating-point numbers, images in 0 to 1 (y / 255)"
            )
        n_bad = int((~part.isfinite()).sum())
        if n_bad:
            raise UserError(f"y has NaN or infinity in {n_bad} of {part.numel()} values")


def image_shape_of(y: Measured, physics: Physics) -> ImageShape:
    """Infer (C, H, W) of the images behind a measurement from its operator.

    The adjoint is tried before ``img_size``, which in some operators is that of the measurement.

    Raises:
        ValueError: If the operator does not give it and has no adjoint that returns an image.
    """
    linear = physics.B if isinstance(getattr(physics, "B", None), Physics) else physics
    shape: Sequence[int] | None = getattr(linear, "image_shape", None)
    try:
        shape = linear.A_adjoint(y).shape[1:] if shape is None else shape
    except Exception as error:  # a user's operator may raise anything
        shape = getattr(linear, "img_size", None)
        if not isinstance(shape, tuple | list):  # None, or the side of a square
            raise ValueError(
                f"{type(physics).__name__} does not tell the image's shape: pass image_shape="
            ) from error
    if len(shape) != 3:
        raise ValueError(
            f"{type(physics).__name__} gives {tuple(shape)}, not an image (C, H, W): "
            "pass image_shape="
        )
    return int(shape[0]), int(shape[1]), int(shape[2])


def sized(physics: Physics, image_shape: ImageShape) -> Physics:
    """Return the operator; where it has nothing but A, a copy whose adjoint autograd finds.

    deepinv's automatic adjoint asks for ``img_size``, which few write into an operator of theirs.
    """
    automatic = isinstance(physics, LinearPhysics) and physics.A_adj is None
    if not automatic or type(physics).A_adjoint is not LinearPhysics.A_adjoint:
        return physics
    if physics.img_size is not None:
        return physics
    twin = copy.copy(physics)
    twin.img_size = tuple(image_shape)
    return twin


def flatten(y: Measured) -> Tensor:
    """Return a batch of measurements of several tensors as one (B, M), real if all are."""
    parts = [part.flatten(1) for part in y]
    if any(part.is_complex() for part in parts):
        parts = [torch.view_as_real(part + 0j).flatten(1) for part in parts]
    return torch.cat(parts, dim=1)


def real_dtype(y: Tensor) -> torch.dtype:
    """Return the dtype of images measured as ``y``, float32 unless ``y`` is in double precision."""
    return torch.float64 if y.dtype in (torch.float64, torch.complex128) else torch.float32


class Flattened(Physics):
    """Wrap an operator that measures several tensors, and return them as one vector."""

    def __init__(self, physics: Physics) -> None:
        super().__init__(noise_model=physics.noise_model)
        self.physics = physics

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Return the measurements (B, M)."""
        return flatten(self.physics.A(x, **kwargs))


class OneOfMany(Physics):
    """Measure images as an operator of n images at once measures its image ``index``.

    Cost: n times that of the image's own operator.
    """

    def __init__(self, physics: Physics, index: int, *, n_images: int) -> None:
        super().__init__(noise_model=physics.noise_model)
        self.physics, self.index, self.n_images = physics, index, n_images

    def A(self, x: Tensor, **kwargs: Any) -> Tensor:
        """Return the measurements of any number of images by the operator of that one."""
        copies = [image.expand(self.n_images, -1, -1, -1) for image in x.split(1)]
        rows = slice(self.index, self.index + 1)
        return torch.cat([self.physics.A(images, **kwargs)[rows] for images in copies])


def operators_of(
    physics: Physics, n_images: int, image_shape: ImageShape, *, like: Tensor
) -> list[Physics]:
    """Return the operator of each image of a batch, without gradients: shared, or its own."""
    if n_images == 1 or not any(_has_rows(t, n_images) for t in _tensors(physics)):
        return [physics] * n_images
    probe = torch.rand((1, *image_shape), generator=torch.Generator().manual_seed(0)).to(
        like.device
    )
    probe = probe.double() if like.dtype in (torch.float64, torch.complex128) else probe
    together = physics.A(probe.expand(n_images, -1, -1, -1))
    if all(_same(row, together[:1]) for row in together.split(1)):
        return [_with_own_noise(physics, i, n_images) for i in range(n_images)]
    return [
        _own_operator(physics, i, n_images, probe=probe, measured=together[i : i + 1])
        for i in range(n_images)
    ]


def _own_operator(
    physics: Physics, index: int, n_images: int, *, probe: Tensor, measured: Tensor
) -> Physics:
    """Cut an image's rows out of the operator's tensors; if that changes it, keep them all."""
    own = _rows_of(physics, index, n_images)
    try:
        if _same(own.A(probe), measured):
            return own
    except (RuntimeError, ValueError, IndexError, AttributeError):
        pass  # a tensor of that length had another meaning
    return OneOfMany(_with_own_noise(physics, index, n_images), index, n_images=n_images)


def _with_own_noise(physics: Physics, index: int, n_images: int) -> Physics:
    """Give an image its row of the noise level, if there is one."""
    noise = physics.noise_model
    if not isinstance(noise, nn.Module) or not any(_has_rows(t, n_images) for t in _tensors(noise)):
        return physics
    twin = copy.copy(physics)
    own = {**physics._modules, "noise_model": _rows_of(noise, index, n_images)}
    vars(twin)["_modules"] = own
    return twin


def _rows_of(module: Module, index: int, n_images: int) -> Module:
    rows = slice(index, index + 1)
    return _map_tensors(module, lambda t: t[rows] if _has_rows(t, n_images) else t)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).norm() <= SAME * b.norm())


def _has_rows(tensor: Tensor, n_images: int) -> bool:
    return tensor.ndim > 0 and len(tensor) == n_images


def _tensors(physics: nn.Module) -> Iterator[Tensor]:
    """Yield every tensor of an operator and its parts, registered or not."""
    for module in physics.modules():
        yield from (value for value in vars(module).values() if isinstance(value, Tensor))
        for group in (module._buffers, module._parameters):
            yield from (value for value in group.values() if value is not None)


def _map_tensors(module: Module, change: Callable[[Tensor], Tensor]) -> Module:
    """Return a copy that shares all tensors but those that ``change`` replaces."""
    twin = copy.copy(module)
    vars(twin).update(
        {k: change(v) for k, v in vars(module).items() if isinstance(v, Tensor)},
        _buffers={k: v if v is None else change(v) for k, v in module._buffers.items()},
        _parameters={k: v if v is None else change(v) for k, v in module._parameters.items()},
        _modules={
            k: v if v is None else _map_tensors(v, change) for k, v in module._modules.items()
        },
    )
    return twin
