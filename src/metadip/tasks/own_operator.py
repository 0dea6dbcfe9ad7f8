"""Operators made by the user's own code, named on the command line."""

from __future__ import annotations

import copy
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from deepinv.physics import GaussianNoise, Physics
from torch import Tensor

from metadip.physics.operators import ImageShape
from metadip.physics.scaling import operator_scale
from metadip.physics.splitting import sized
from metadip.seeding import Stream, seed_of
from metadip.tasks.arguments import as_grey, one_image_shape
from metadip.tasks.measurement_file import MeasurementFile
from metadip.types import InverseProblem, UserError

ShapeOf = Callable[[Tensor, Physics], ImageShape]


class OwnOperator:
    """Read or simulate measurements whose operator comes from ``package.module:factory``.

    Model:
        ``factory(content)`` or ``factory()`` returns a deepinv ``Physics``; ``content`` maps the
        names of the file's entries to tensors, numbers and text (of an image file: ``y``). It is
        called once per measurement, and gets the content if it has an argument without a default.
        The file holds ``y``, real or complex, as ``physics.A`` gives it for one image, with or
        without the batch dimension; ``image_shape`` (C, H, W) unless the operator gives it;
        ``noise_std`` and ``x`` if known; everything else is for the factory. To simulate, the
        content is ``image_shape`` alone, y = N(A(x)) with the operator's own noise model, and
        colour images become grey for operators that measure no others.
    Args:
        spec: module and name; modules in the current folder are found too. The code is run, so this
            is only ever taken from the command line.
        image_shape_of: returns (C, H, W) from a measurement and its operator, or raises
            ValueError.
        rescale: set the problem's scale by ``operator_scale``, for step sizes that were learned at
            the scale of our tasks; False leaves it at 1.
    Raises:
        UserError: If there is no such module or name, or it cannot be called this way.
    """

    reads_images: ClassVar[bool] = True
    same_size: ClassVar[bool] = False

    def __init__(self, spec: str, *, image_shape_of: ShapeOf, rescale: bool = True) -> None:
        self.spec, self._image_shape_of, self.rescale = spec, image_shape_of, rescale
        self.factory = _find(spec)
        self._takes_content = _takes_content(self.factory, spec)

    def read(self, file: MeasurementFile) -> InverseProblem:
        """Read a measurement and make its operator.

        Raises:
            UserError: If the file is missing or bad, or the operator does not fit it.
        """
        physics, y = self.make(file.content), file.floats("y", complex_too=True)
        shape = file.image_shape() if "image_shape" in file.content else self._shape(file, physics)
        expected = self._measure(physics, shape)
        matching = [v for v in _batches(y) if v.shape == expected.shape]
        if not matching or y.is_complex() != expected.is_complex():
            raise file.error(
                "y",
                f"must be what physics={self.spec} gives for an image {shape}, "
                f"{_describe(expected[0])}, got {_describe(y)}",
            )
        if "noise_std" in file.content:
            physics = _with_noise_std(physics, file.noise_std(0.0))
        y, x = matching[0], file.truth(shape)
        return self._problem(y, physics, shape, x=x, name=file.path.stem)

    @torch.inference_mode(mode=False)
    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W) with the operator and its noise model.

        Random numbers that the factory or the noise model draw from PyTorch's global generator
        depend on ``seed`` alone.

        Raises:
            UserError: If the factory fails, or the operator does not measure such an image.
        """
        one_image_shape(x)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, Stream.OPERATOR))
            physics, x = self._operator_for(x)
            torch.manual_seed(seed_of(seed, Stream.NOISE))
            with torch.no_grad():
                y = physics(x)
        return self._problem(y, physics, one_image_shape(x), x=x, name=name, seed=seed)

    def _problem(
        self, y: Tensor, physics: Physics, shape: ImageShape, **about: Any
    ) -> InverseProblem:
        scale = operator_scale(physics, shape, like=y) if self.rescale else 1.0
        return InverseProblem(y, sized(physics, shape), shape, scale=scale, **about)

    def check_size(self, image_shape: ImageShape) -> None:
        """Accept any size; ``measure`` rejects what the operator cannot measure."""

    def _operator_for(self, x: Tensor) -> tuple[Physics, Tensor]:
        """Return the operator for an image, and the image, made grey if that alone fits."""
        try:
            return self._made_for(x), x
        except UserError:
            if x.shape[1] == 1:
                raise
            try:
                return self._made_for(as_grey(x)), as_grey(x)
            except UserError:
                pass
            raise

    def _made_for(self, x: Tensor) -> Physics:
        shape = one_image_shape(x)
        physics = self.make({"image_shape": shape})
        self._measure(physics, shape)
        return physics.to(x.device)

    def make(self, content: Mapping[str, Any]) -> Physics:
        """Return the operator of one measurement."""
        try:
            physics = self.factory(content) if self._takes_content else self.factory()
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"physics={self.spec} failed: {_told(error)}") from error
        if not isinstance(physics, Physics):
            raise UserError(
                f"physics={self.spec} must return a deepinv Physics, got {type(physics).__name__}"
            )
        return physics

    def _shape(self, file: MeasurementFile, physics: Physics) -> ImageShape:
        """Ask the operator for the shape of the image, first with y as given."""
        for y in reversed(_batches(file.floats("y", complex_too=True))):
            try:
                return file.check_image_shape("y", tuple(self._image_shape_of(y, physics)))
            except ValueError:
                continue
        raise file.error("image_shape", f"is missing (C, H, W), and physics={self.spec} tells none")

    def _measure(self, physics: Physics, shape: ImageShape) -> Tensor:
        """Return the measurement of one image by the operator, and check that it can be fitted."""
        x = torch.rand((1, *shape), generator=torch.Generator().manual_seed(0)).requires_grad_()
        try:
            with torch.enable_grad():
                y = physics.A(x)
        except Exception as error:
            raise UserError(
                f"physics={self.spec} cannot measure an image {shape}: {_told(error)}"
            ) from error
        if not isinstance(y, Tensor) or y.shape[:1] != (1,):
            found = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise UserError(
                f"physics={self.spec} must measure (1, C, H, W) as one tensor (1, ...), got {found}"
            )
        if not y.requires_grad:
            raise UserError(
                f"physics={self.spec} gives no gradient: its A must be of torch functions"
            )
        return y.detach()


def _find(spec: str) -> Callable[..., Any]:
    """Import the factory named by ``package.module:factory``."""
    if not re.fullmatch(r"[\w.]+:\w+", spec):
        raise UserError(f"physics={spec} must be package.module:factory")
    module_name, _, name = spec.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise UserError(f"physics={spec}: importing it failed: {_told(error)}") from error
        raise UserError(
            f"physics={spec}: no module '{error.name}' in the current folder or among the "
            "installed packages"
        ) from error
    except Exception as error:
        raise UserError(f"physics={spec}: importing it failed: {_told(error)}") from error
    if not hasattr(module, name):
        raise UserError(f"physics={spec}: module '{module_name}' has no '{name}'")
    factory = getattr(module, name)
    if not callable(factory):
        raise UserError(f"physics={spec} is a {type(factory).__name__}, not a function")
    return factory  # type: ignore[no-any-return]


def _takes_content(factory: Callable[..., Any], spec: str) -> bool:
    """Return whether a factory takes the content of the file."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (ValueError, TypeError) as error:
        raise UserError(f"physics={spec} is not a function that makes an operator") from error
    needed = [
        p
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if len(needed) > 1 or any(p.kind is p.KEYWORD_ONLY for p in needed):
        names = ", ".join(p.name for p in needed)
        raise UserError(
            f"physics={spec} must take nothing or the file's content, it asks for {names}"
        )
    return bool(needed)


def _with_noise_std(physics: Physics, noise_std: float) -> Physics:
    """Return a copy with its own noise level: a factory may share one operator among files."""
    twin = copy.copy(physics)
    vars(twin)["_modules"] = dict(physics._modules)
    twin.set_noise_model(GaussianNoise(noise_std))
    return twin


def _batches(y: Tensor) -> list[Tensor]:
    """Return a measurement as a batch of one: with a dimension added, and as given if it fits."""
    return [y[None], y] if y.shape[:1] == (1,) else [y[None]]


def _describe(y: Tensor) -> str:
    return f"{'complex' if y.is_complex() else 'real'} {tuple(y.shape)}"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
