"""The operator of every task: adjoint, gradient, many images at once, precision, scale."""

from typing import Any

import pytest
import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from metadip import config
from metadip.physics.scaling import operator_scale
from metadip.tasks import TASKS, ReconstructionTask
from metadip.types import InverseProblem, UserError

SHAPES = [(1, 12, 12), (2, 12, 16), (3, 20, 12), (4, 16, 20)]
WAYS: dict[str, tuple[str, ...]] = {
    **{name: (f"task={name}",) for name in TASKS},
    "sr bicubic": ("task=sr", "task.kernel=bicubic", "task.factor=2"),
    "deblur valid": ("task=deblur", "task.boundary=valid", "task.kernel_std_px=0.8"),
    "blind_deblur": ("task=blind_deblur", "task.kernel_px=5"),
    "cdi": ("task=cdi", "task.photons=null"),
    "real cdi": ("task=cdi", "task.photons=null", "task.phase=none", "task.beamstop_px=2"),
    "motion": ("task=deblur", "task.kernel=motion", "task.kernel_size_px=7"),
    "ct of three angles": ("task=ct", "task.angles=[0,10,75]"),
    "mri of three coils": ("task=mri", "task.coils=3"),
    "spc random": ("task=spc", "task.patterns=random"),
    "inpaint text": ("task=inpaint", "task.mask=text"),
    "codec": ("task=jpeg", "task.codec=true"),
    "gbrg": ("task=demosaick", "task.pattern=gbrg"),
}
CHANNELS = {"demosaick": (3,), "gbrg": (3,), "jpeg": (1, 3), "codec": (1, 3)}
every_way = pytest.mark.parametrize("way", WAYS)
NOT_LINEAR = ("cpr", "codec", "cdi", "real cdi")


def made(way: str) -> ReconstructionTask:
    task: ReconstructionTask = config.build(config.compose("infer", list(WAYS[way])).task)
    return task


def picture(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand((1, *shape), dtype=torch.float64, generator=generator)


def problems(way: str) -> list[InverseProblem]:
    task = made(way)
    shapes = [shape for shape in SHAPES if shape[0] in CHANNELS.get(way, (1, 2, 3, 4))]
    return [task.measure(picture(*shape), seed=3) for shape in shapes]


@every_way
def test_what_is_linear_has_its_adjoint_and_gradient(way: str) -> None:
    for problem in problems(way):
        x, physics = picture(*problem.image_shape).requires_grad_(), problem.physics
        y = physics.A(x)
        assert y.dtype == torch.float64
        v = torch.rand_like(y)
        (gradient,) = torch.autograd.grad(y, x, v)
        assert gradient.isfinite().all()
        assert bool(gradient.any())
        if way in NOT_LINEAR:
            assert not isinstance(physics, LinearPhysics)
            continue
        assert isinstance(physics, LinearPhysics)
        back = physics.A_adjoint(v)
        torch.testing.assert_close(back, gradient, rtol=1e-9, atol=1e-11)
        gap = (y * v).sum() - (x * back).sum()
        assert abs(gap) < 1e-10 * y.norm() * v.norm()
        torch.testing.assert_close(physics.A(2 * x + 1), 2 * y + physics.A(torch.ones_like(x)))


@every_way
def test_many_images_at_once(way: str) -> None:
    problem = problems(way)[0]
    images = picture(3, *problem.image_shape)[0]
    one_by_one = torch.cat([problem.physics.A(image[None]) for image in images])
    torch.testing.assert_close(problem.physics.A(images), one_by_one)
    if way.startswith("mri"):  # deepinv's moveaxis has no rule for vmap; fits measure outside it
        return
    stacked = torch.func.vmap(problem.physics.A)(images[:, None])
    torch.testing.assert_close(stacked[:, 0], one_by_one)


@every_way
def test_single_precision_measures_the_same(way: str) -> None:
    task, shape = made(way), (3, 16, 12)
    double, single = (task.measure(x, seed=2) for x in (picture(*shape), picture(*shape).float()))
    assert single.y.dtype == torch.float32
    torch.testing.assert_close(single.y.double(), double.y, rtol=1e-4, atol=1e-4)
    assert single.scale == pytest.approx(double.scale, rel=1e-4)


@every_way
def test_smooth_images_keep_their_energy(way: str) -> None:
    """The rule of ``operator_scale``, which judges ct alone by images without a flat part."""
    problem = made(way).measure(picture(3, 32, 32).float(), seed=1)
    expected = operator_scale(problem.physics, problem.image_shape, like=problem.y)
    rel = 0.35 if way in ("deblur valid", "blind_deblur") else 0.16
    if way.startswith("ct"):
        flat = torch.ones(1, *problem.image_shape)
        kept = (problem.scale * problem.physics.A(flat)).norm() / flat.norm()
        assert kept.item() == pytest.approx(1, abs=1e-4)
        assert problem.scale < expected
    elif way not in NOT_LINEAR[1:]:
        assert problem.scale == pytest.approx(expected, rel=rel)


def test_a_matrix_agrees_with_its_operator() -> None:
    for way in ("ct of three angles", "mri of three coils", "spc", "sr", "deblur valid"):
        problem = made(way).measure(picture(1, 12, 12), seed=1)
        n = problem.image_shape[0] * 144
        columns: Any = torch.eye(n, dtype=torch.float64).reshape(n, *problem.image_shape)
        matrix = problem.physics.A(columns).flatten(1).T
        x, v = picture(*problem.image_shape), torch.rand_like(problem.y)
        torch.testing.assert_close(matrix @ x.flatten(), problem.physics.A(x).flatten())
        torch.testing.assert_close(matrix.T @ v.flatten(), problem.physics.A_adjoint(v).flatten())


@pytest.mark.parametrize("way", ["demosaick", "jpeg"])
def test_channels_that_make_no_sense(way: str) -> None:
    with pytest.raises(UserError, match=rf"task={way} needs .* channels, got 4: use another image"):
        made(way).measure(picture(4, 8, 8), seed=0)
    with pytest.raises(UserError, match="channels, got 2"):
        made(way).check_size((2, 8, 8))
