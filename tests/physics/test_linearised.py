"""Least squares around an image, against dense linear algebra."""

import math
from dataclasses import replace

import pytest
import torch
from deepinv.physics import Inpainting
from torch import Tensor

from metadip.physics import MatrixSensing
from metadip.physics.linearised import (
    Linearised,
    constant_fit,
    correction,
    coverage,
    smooth_fit,
)
from metadip.tasks import PhaseRetrievalTask
from metadip.types import InverseProblem
from tests.fitting.tiny import image, sensed

SHAPE = (2, 3, 4)
N = math.prod(SHAPE)


def amplitude(seed: int) -> InverseProblem:
    task = PhaseRetrievalTask(2.0, noise_std=0.0, operator="gaussian", max_bytes=2**20)
    return task.measure(image(seed, SHAPE).double(), seed=seed)


@pytest.mark.parametrize("problem", [sensed(0, 7, SHAPE), amplitude(1)], ids=["linear", "not"])
def test_products_of_the_jacobian(problem: InverseProblem):
    x, d = (image(s, SHAPE).double() for s in (3, 4))
    operator = Linearised(problem.physics, x)
    torch.testing.assert_close(operator.value, problem.physics.A(x))
    eps = 1e-6
    ahead, behind = (problem.physics.A(x + sign * eps * d) for sign in (1, -1))
    torch.testing.assert_close(operator.push(d), (ahead - behind) / (2 * eps))
    r = torch.rand_like(problem.y)
    torch.testing.assert_close((operator.push(d) * r).sum(), (d * operator.pull(r)).sum())


def test_one_step_is_the_projection_where_rows_are_orthogonal():
    mask = (image(5, SHAPE) > 0.5).double()[0]
    truth, x = (image(s, SHAPE).double() for s in (6, 7))
    physics = Inpainting(SHAPE, mask=mask)
    problem = InverseProblem(physics.A(truth), physics, SHAPE)
    found = correction(problem, x, iterations=4)
    expected = torch.where(mask[None] == 1, truth, x)
    torch.testing.assert_close(x + found.steepest, expected)
    torch.testing.assert_close(x + found.full, expected)
    torch.testing.assert_close(found.residual, physics.A(truth - x))


def test_the_first_step_is_the_best_along_the_gradient():
    problem, x = sensed(1, 9, SHAPE), image(2, SHAPE).double()
    found = correction(problem, x, iterations=3)

    def misfit(d: Tensor) -> float:
        return float((problem.physics.A(x + d) - problem.y).square().sum())

    best = misfit(found.steepest)
    assert misfit(0.99 * found.steepest) > best < misfit(1.01 * found.steepest)
    assert misfit(found.full) < best < misfit(torch.zeros_like(x))
    gradient = problem.physics.A_adjoint(found.residual)
    torch.testing.assert_close(gradient / gradient.norm(), found.steepest / found.steepest.norm())


@pytest.mark.parametrize("n_measurements", [9, 60])
def test_many_iterations_solve_the_least_squares(n_measurements: int):
    problem, x = sensed(3, n_measurements, SHAPE), image(4, SHAPE).double()
    noisy = problem.y + 0.1
    problem = InverseProblem(noisy, problem.physics, SHAPE)
    found = correction(problem, x, iterations=3 * N)
    matrix = problem.physics.matrix
    least = torch.linalg.lstsq(matrix, found.residual.flatten(), driver="gelsd").solution
    torch.testing.assert_close(found.full.flatten(), least, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_smooth_fit_is_the_smoothest_of_what_explains_y(scale: float):
    shape = (1, 4, 3)
    problem = replace(sensed(2, 5, shape), scale=scale)
    constant = constant_fit(problem)
    found = smooth_fit(problem, constant, smoothness=0.3)
    eye = torch.eye(12, dtype=torch.float64).view(12, 1, 4, 3)
    rough = torch.cat([eye.diff(dim=-1).flatten(1), eye.diff(dim=-2).flatten(1)], dim=1)
    matrix = scale * problem.physics.matrix
    system = matrix.T @ matrix + 0.3 * rough @ rough.T
    expected = torch.linalg.solve(system, matrix.T @ (scale * problem.y[0]))
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-3, atol=1e-3)
    assert smooth_fit(problem, constant, smoothness=1e6).std() < 1e-3


def test_coverage_of_a_constant_is_the_mask():
    mask = (image(5, SHAPE) > 0.5).double()[0]
    problem = InverseProblem(mask[None], Inpainting(SHAPE, mask=mask), SHAPE)
    torch.testing.assert_close(coverage(problem, constant_fit(problem)), mask[None])
    problem = sensed(0, 7, SHAPE)
    x = image(1, SHAPE).double()
    kept = problem.physics.A_adjoint(problem.physics.A(x))
    found = coverage(problem, x)
    torch.testing.assert_close(found / found.norm(), kept / kept.norm())
    left = (problem.physics.A(x - found)).norm()
    for factor in (0.99, 1.01):
        assert problem.physics.A(x - factor * found).norm() > left


def test_nothing_to_correct_is_no_division_by_zero():
    problem = sensed(3, 9, SHAPE)
    assert problem.x is not None
    found = correction(problem, problem.x, iterations=3)
    assert found.full.abs().max() < 1e-12
    physics = MatrixSensing(torch.zeros(3, N), image_shape=SHAPE)
    blind = InverseProblem(torch.ones(1, 3), physics, SHAPE)
    assert not correction(blind, torch.ones(1, *SHAPE), iterations=3).full.any()
    assert not constant_fit(blind).any()
    assert not coverage(blind, torch.ones(1, *SHAPE)).any()


@pytest.mark.parametrize("problem", [sensed(0, 7, SHAPE), amplitude(1)], ids=["linear", "not"])
def test_constant_fit_is_the_best_of_all_constants(problem: InverseProblem):
    c = constant_fit(problem)
    assert c.unique().numel() == 1
    assert c.shape == (1, *SHAPE)
    best = (problem.physics.A(c) - problem.y).square().sum()
    for factor in (0.99, 1.01):
        assert (problem.physics.A(factor * c) - problem.y).square().sum() > best
