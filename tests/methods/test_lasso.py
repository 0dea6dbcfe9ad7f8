"""The Lasso: its bases, a closed form, the conditions of its minimum, refusals."""

import pytest
import torch
from deepinv.physics import Denoising
from scipy.fft import dctn
from torch import Tensor

from metadip.methods import Lasso
from metadip.methods.lasso import BASES, Transform, dct, haar
from metadip.physics.operators import GaussianSensing
from metadip.tasks import PhaseRetrievalTask
from metadip.types import InverseProblem, UserError
from tests.fitting.tiny import image


def solved(problem: InverseProblem, basis: str, alpha: float, iterations: int = 200) -> Tensor:
    method = Lasso(basis=basis, alpha=alpha, iterations=iterations)
    x_hat: Tensor = method.reconstruct([problem])[0].x_hat
    return x_hat


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("size", [(8, 8), (12, 28)])
def test_bases_are_orthonormal(basis: str, size: tuple[int, int]) -> None:
    analyse, synthesise = BASES[basis]
    x = image(0, (2, *size)).double()
    torch.testing.assert_close(synthesise(analyse(x)), x)
    torch.testing.assert_close(analyse(synthesise(x)), x)
    torch.testing.assert_close(analyse(x).norm(), x.norm())


def test_the_cosine_transform_is_that_of_scipy() -> None:
    x = image(0, (1, 7, 12)).double()
    expected = torch.from_numpy(dctn(x.numpy(), axes=(2, 3), norm="ortho"))
    torch.testing.assert_close(dct(x), expected)


def test_a_constant_image_is_one_haar_coefficient() -> None:
    assert haar(torch.ones(1, 1, 8, 8)).count_nonzero() == 1
    assert haar(torch.ones(1, 1, 12, 12)).count_nonzero() == 9  # 3 is odd


def shrunk(c: Tensor, by: float) -> Tensor:
    return c.sign() * (c.abs() - by).clamp(min=0)


@pytest.mark.parametrize("basis", BASES)
def test_denoising_is_soft_thresholding(basis: str) -> None:
    """With A = I the minimum is known: each coefficient shrinks by alpha M."""
    y = image(1, (1, 8, 8)).double()
    analyse, synthesise = BASES[basis]
    found = solved(InverseProblem(y, Denoising(), (1, 8, 8)), basis, alpha=0.3 / 64)
    torch.testing.assert_close(found, synthesise(shrunk(analyse(y), 0.3)), rtol=0, atol=1e-6)


def gradient_at(problem: InverseProblem, x: Tensor, analyse: Transform) -> Tensor:
    return analyse(problem.physics.A_adjoint(problem.physics.A(x) - problem.y)) / problem.y.numel()


@pytest.mark.parametrize("basis", BASES)
def test_conditions_of_the_minimum(basis: str) -> None:
    """-gradient = alpha sign(c) where c is not 0, and at most alpha elsewhere."""
    physics = GaussianSensing((1, 8, 8), n_measurements=30, seed=0, max_bytes=2**20).double()
    x, alpha = image(2, (1, 8, 8)).double(), 1e-3
    problem = InverseProblem(physics.A(x), physics, (1, 8, 8))
    analyse, _ = BASES[basis]
    found = solved(problem, basis, alpha, iterations=1500)
    slope, c = gradient_at(problem, found, analyse), analyse(found)
    used = c.abs() > 1e-6
    assert 0 < used.sum() < 64
    torch.testing.assert_close(-slope[used], alpha * c[used].sign(), rtol=0, atol=1e-5)
    assert slope[~used].abs().max() <= alpha * (1 + 1e-2)


def test_refusals() -> None:
    task = PhaseRetrievalTask(1.0, noise_std=0.0, operator="structured", max_bytes=2**20)
    with pytest.raises(UserError, match="method=lasso serves linear operators, not Magnitude"):
        solved(task.measure(image(0), seed=0), "dct", 0.1)
    odd = InverseProblem(image(0, (1, 7, 8)), Denoising(), (1, 7, 8))
    with pytest.raises(UserError, match=r"method\.basis=haar needs even sides, got 7x8"):
        solved(odd, "haar", 0.1)
    with pytest.raises(UserError, match=r"method\.basis=db4 is unknown; choose from dct, haar"):
        Lasso(basis="db4", alpha=1, iterations=2)
    with pytest.raises(ValueError, match="need alpha > 0 and iterations >= 2, got 0 and 2"):
        Lasso(basis="dct", alpha=0, iterations=2)
    complex_y = InverseProblem(image(0) + 0j, Denoising(), (3, 8, 8))
    with pytest.raises(UserError, match="method=lasso needs real measurements"):
        solved(complex_y, "dct", 0.1)
