"""Every operator through the same properties, and each against an oracle."""

import math
from collections.abc import Callable

import pytest
import scipy.fft
import torch
from deepinv.physics import LinearPhysics
from torch import Tensor

from metadip.physics import GaussianSensing, Magnitude, MatrixSensing, StructuredSensing
from metadip.physics.operators import ImageShape, OperatorKind, draw_sensing, hartley
from metadip.types import UserError

MAX_BYTES = 2**24
SHAPES = [(1, 8, 8), (3, 8, 8), (1, 7, 9), (3, 7, 9), (4, 5, 1)]
RATIOS = [0.1, 0.5, 1.0, 1.5, 3.0]


def gaussian(shape: ImageShape, m: int, seed: int = 0) -> LinearPhysics:
    return GaussianSensing(shape, n_measurements=m, seed=seed, max_bytes=MAX_BYTES)


def structured(shape: ImageShape, m: int, seed: int = 0) -> LinearPhysics:
    return StructuredSensing(shape, n_measurements=m, seed=seed, n_layers=1)


def structured_twice(shape: ImageShape, m: int, seed: int = 0) -> LinearPhysics:
    return StructuredSensing(shape, n_measurements=m, seed=seed, n_layers=2)


def given(shape: ImageShape, m: int, seed: int = 0) -> LinearPhysics:
    return MatrixSensing(randn(m, math.prod(shape), seed=seed + 100), image_shape=shape)


OPERATORS = [gaussian, structured, structured_twice, given]
Maker = Callable[..., LinearPhysics]
every_operator = pytest.mark.parametrize("make", OPERATORS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_ratio = pytest.mark.parametrize("ratio", RATIOS)


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def count(shape: ImageShape, ratio: float) -> int:
    return max(1, round(ratio * math.prod(shape)))


def dense(op: LinearPhysics, shape: ImageShape) -> Tensor:
    """Return the operator's matrix (M, N), column by column."""
    columns: Tensor = op.A(torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape))
    return columns.T


@every_operator
@every_shape
@every_ratio
def test_adjoint(make: Maker, shape: ImageShape, ratio: float) -> None:
    m = count(shape, ratio)
    op = make(shape, m).double()
    x, v = randn(2, *shape), randn(2, m, seed=2)
    y, back = op.A(x), op.A_adjoint(v)
    assert y.shape == (2, m)
    assert back.shape == x.shape
    gap = (y * v).sum() - (x * back).sum()
    assert gap.abs() / (y.norm() * v.norm()) < 1e-10
    assert op.adjointness_test(img_size=shape, num_samples=3, dtype=torch.float64) < 1e-10


@every_operator
@pytest.mark.parametrize("ratio", [0.25, 1.5])
def test_equals_its_matrix(make: Maker, ratio: float) -> None:
    shape = (1, 8, 8)
    op = make(shape, count(shape, ratio)).double()
    matrix = dense(op, shape)
    x, v = randn(3, *shape), randn(3, len(matrix), seed=2)
    torch.testing.assert_close(op.A(x), x.flatten(1) @ matrix.T)
    torch.testing.assert_close(op.A_adjoint(v), (v @ matrix).reshape(x.shape))
    torch.testing.assert_close(op.A_vjp(x, v), op.A_adjoint(v))


@every_operator
def test_least_squares(make: Maker) -> None:
    shape = (3, 5, 6)
    op = make(shape, 20).double()
    op.set_ls_solver("lsqr", max_iter=200, tol=1e-12)
    y = randn(1, 20)
    expected = torch.linalg.pinv(dense(op, shape)) @ y[0]
    # deepinv's lsqr stops near 1e-6 whatever its tolerance
    torch.testing.assert_close(op.A_dagger(y).flatten(), expected, rtol=0, atol=1e-5)


@every_operator
def test_differentiable_twice(make: Maker) -> None:
    shape = (1, 3, 4)
    x, v = randn(2, *shape).requires_grad_(), randn(2, 7, seed=2)
    for op in (make(shape, 7).double(), Magnitude(make(shape, 7).double())):
        assert torch.autograd.gradcheck(op.A, x)
        assert torch.autograd.gradgradcheck(op.A, x)
        (expected,) = torch.autograd.grad(op.A(x), x, v)
        torch.testing.assert_close(op.A_vjp(x, v), expected)


@every_operator
def test_vmap(make: Maker) -> None:
    op, x = make((1, 4, 4), 6).double(), randn(5, 1, 1, 4, 4)
    y = torch.func.vmap(op.A)(x)
    torch.testing.assert_close(y[:, 0], op.A(x[:, 0]))
    torch.testing.assert_close(torch.func.vmap(op.A_adjoint)(y)[:, 0], op.A_adjoint(y[:, 0]))


@pytest.mark.parametrize("make", [gaussian, structured, structured_twice])
@pytest.mark.parametrize("ratio", [0.25, 1.0, 2.5])
def test_keeps_energy_on_average(make: Maker, ratio: float) -> None:
    shape, n_draws = (1, 2, 3), 1500
    x = randn(1, *shape)
    energies = torch.stack(
        [
            make(shape, count(shape, ratio), seed).double().A(x).square().sum()
            for seed in range(n_draws)
        ]
    )
    spread = energies.std() / math.sqrt(n_draws)
    assert abs(energies.mean() - x.square().sum()) < 4 * spread + 1e-9
    assert spread / x.square().sum() < 0.04


def test_gaussian_entries() -> None:
    m, shape = 200, (3, 20, 20)
    matrix = gaussian(shape, m).matrix * math.sqrt(m)
    assert abs(matrix.mean()) < 4 / math.sqrt(matrix.numel())
    assert abs(matrix.var() - 1) < 4 * math.sqrt(2 / matrix.numel())
    assert abs(matrix.pow(4).mean() - 3) < 4 * math.sqrt(96 / matrix.numel())


@pytest.mark.parametrize("n_layers", [1, 2])
def test_structured_rows_are_orthogonal(n_layers: int) -> None:
    shape, m = (3, 5, 7), 40
    op = StructuredSensing(shape, n_measurements=m, seed=0, n_layers=n_layers).double()
    matrix = dense(op, shape)
    expected = torch.eye(m, dtype=torch.float64) * math.prod(shape) / m
    torch.testing.assert_close(matrix @ matrix.T, expected)


@pytest.mark.parametrize(("n_layers", "kurtosis"), [(1, 1.5), (2, 3.0)])
def test_second_layer_makes_entries_gaussian(n_layers: int, kurtosis: float) -> None:
    shape = (3, 16, 16)
    op = StructuredSensing(shape, n_measurements=384, seed=0, n_layers=n_layers).double()
    entries = dense(op, shape)
    assert entries.pow(4).mean() / entries.square().mean() ** 2 == pytest.approx(kurtosis, abs=0.1)


def test_stacked_blocks_share_the_rows() -> None:
    op = structured((1, 4, 4), 40)
    assert (op.rows // 16).bincount().tolist() == [14, 13, 13]
    assert len(op.rows.unique()) == 40


@every_shape
def test_hartley_against_scipy(shape: ImageShape) -> None:
    x = randn(2, *shape)
    spectrum = torch.from_numpy(scipy.fft.fftn(x.numpy(), axes=(1, 2, 3), norm="ortho"))
    torch.testing.assert_close(hartley(x), spectrum.real - spectrum.imag)
    torch.testing.assert_close(hartley(hartley(x)), x)
    torch.testing.assert_close((hartley(x) * x).sum(), (x * hartley(x)).sum())
    torch.testing.assert_close(hartley(x).norm(), x.norm())


@every_operator
def test_every_argument_matters(make: Maker) -> None:
    shape, x = (3, 4, 4), randn(1, 3, 4, 4)
    y = make(shape, 12).double().A(x)
    torch.testing.assert_close(make(shape, 12).double().A(x), y, rtol=0, atol=0)
    assert not torch.allclose(make(shape, 12, seed=1).double().A(x), y)
    assert make(shape, 13).double().A(x).shape == (1, 13)
    other_shape = make((3, 2, 8), 12).double().A(x.reshape(1, 3, 2, 8))
    if make in (structured, structured_twice):
        assert not torch.allclose(other_shape, y)


def test_layers_matter() -> None:
    x = randn(1, 3, 4, 4)
    assert not torch.allclose(structured((3, 4, 4), 12).A(x), structured_twice((3, 4, 4), 12).A(x))


@every_operator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_state(make: Maker, dtype: torch.dtype) -> None:
    op = make((1, 4, 4), 6).to(dtype)
    x = randn(1, 1, 4, 4).to(dtype)
    assert op.A(x).dtype == op.A_adjoint(op.A(x)).dtype == dtype
    other = make((1, 4, 4), 6, seed=5).to(dtype)
    other.load_state_dict(op.state_dict())
    torch.testing.assert_close(other.A(x), op.A(x), rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("make", OPERATORS)
def test_same_on_gpu(make: Maker) -> None:
    op, x = make((3, 7, 9), 50).double(), randn(2, 3, 7, 9)
    y = op.A(x)
    moved = op.to("cuda")
    torch.testing.assert_close(moved.A(x.cuda()).cpu(), y)
    assert moved.A_adjoint(y.cuda()).is_cuda


def test_magnitude() -> None:
    linear, x = gaussian((1, 4, 4), 9).double(), randn(2, 1, 4, 4)
    op = Magnitude(linear)
    assert op.B is linear
    torch.testing.assert_close(op.A(x), linear.A(x).abs())
    assert op.A_vjp(torch.zeros_like(x), op.A(x)).abs().max() == 0
    zero = torch.zeros_like(x).requires_grad_()
    (gradient,) = torch.autograd.grad(op.A(zero).sum(), zero)
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("make", [gaussian, structured_twice])
def test_magnitude_inverse_of_a_positive_image(make: Maker) -> None:
    x = torch.rand((2, 1, 6, 6), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    op = Magnitude(make((1, 6, 6), 36 * 4).double())
    op.set_ls_solver("gradient_descent", max_iter=500, tol=1e-12)
    torch.testing.assert_close(op.A_dagger(op.A(x)), x, rtol=0, atol=1e-2)
    torch.testing.assert_close(op.A_dagger(op.A(x), x_init=x), x)


@every_operator
def test_refusals(make: Maker) -> None:
    op = make((3, 4, 5), 6)
    with pytest.raises(ValueError, match=r"expected image \(B, 3, 4, 5\), got \(2, 3, 5, 4\)"):
        op.A(torch.zeros(2, 3, 5, 4))
    with pytest.raises(ValueError, match=r"expected measurement \(B, 6\), got \(2, 7\)"):
        op.A_adjoint(torch.zeros(2, 7))


def test_constructor_refusals() -> None:
    for make in (gaussian, structured):
        with pytest.raises(ValueError, match="n_measurements must be at least 1, got 0"):
            make((1, 4, 4), 0)
    with pytest.raises(ValueError, match="n_layers must be at least 1, got 0"):
        StructuredSensing((1, 4, 4), n_measurements=1, seed=0, n_layers=0)
    with pytest.raises(
        ValueError, match=r"matrix \(2, 5\) must have a column per entry of \(1, 2, 2\)"
    ):
        MatrixSensing(torch.zeros(2, 5), image_shape=(1, 2, 2))
    with pytest.raises(
        UserError,
        match=r"12288 x 49152 Gaussian matrix needs 2\.42 GB, .*use task\.operator=structured",
    ):
        GaussianSensing((3, 128, 128), n_measurements=12288, seed=0, max_bytes=2**30)


def test_draw_sensing_picks_by_name() -> None:
    def drawn(kind: OperatorKind, max_bytes: int) -> type[LinearPhysics]:
        sizes = {"n_measurements": 16, "seed": 0, "max_bytes": max_bytes, "n_layers": 1}
        return type(draw_sensing(kind, (1, 8, 8), **sizes))

    n_bytes = 4 * 16 * 64
    assert drawn("structured", 192) is StructuredSensing
    assert drawn("gaussian", n_bytes) is GaussianSensing
    many = {"seed": 0, "max_bytes": 10**9, "n_layers": 10**7}
    with pytest.raises(UserError, match=r"10000000 layers needs .* more than task\.max_bytes="):
        draw_sensing("structured", (3, 64, 64), n_measurements=100, **many)
    with pytest.raises(UserError, match=r"more than task\.max_bytes=4095"):
        drawn("gaussian", n_bytes - 1)
