"""Least squares around an image, with nothing but the forward operator and its derivatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from deepinv.physics import Denoising, LinearPhysics, Physics
from torch import Tensor

from metadip.types import InverseProblem

CONVERGED = 1e-6  # of ||J^T r||^2, relative to where it began: nothing worth a step is left
SMOOTH_ITERATIONS = 30  # of ``smooth_fit``


class Linearised:
    """Return A(x), and the products of its Jacobian J at x, of any differentiable operator.

    Shape:
        ``value``: as y. ``pull``: like y -> like x. ``push``: like x -> like y.
    Args:
        physics: ``A`` is differentiable once if it is linear, else twice.
        x: (B, C, H, W).
    """

    def __init__(self, physics: Physics, x: Tensor) -> None:
        self.physics = physics
        with torch.enable_grad():
            self._x = x.detach().requires_grad_()
            self._y: Tensor = physics.A(self._x)
            self._dual = torch.zeros_like(self._y).requires_grad_()
            self._slope: Tensor | None = None
            if not isinstance(physics, LinearPhysics):  # J^T u, linear in u, whose derivative is J
                (self._slope,) = torch.autograd.grad(
                    self._y, self._x, self._dual, create_graph=True
                )
        self.value = self._y.detach()

    def pull(self, residual: Tensor) -> Tensor:
        """Return J^T r."""
        (gradient,) = torch.autograd.grad(self._y, self._x, residual, retain_graph=True)
        return gradient

    def push(self, direction: Tensor) -> Tensor:
        """Return J d."""
        if self._slope is None:
            with torch.no_grad():
                y: Tensor = self.physics.A(direction)
            return y
        (y,) = torch.autograd.grad(self._slope, self._dual, direction, retain_graph=True)
        return y


class Correction(NamedTuple):
    """How an image has to change to agree with a measurement.

    Shape:
        ``steepest``, ``full``: (B, C, H, W). ``residual``: as y.
    Args:
        steepest: along the negative gradient of ||A(x) - y||^2, as far as the linearised operator
            says is best.
        full: after all iterations.
        residual: y - A(x).
    """

    steepest: Tensor
    full: Tensor
    residual: Tensor


def correction(problem: InverseProblem, x: Tensor, *, iterations: int) -> Correction:
    """Return the change of an image by conjugate gradients on min_d ||J d - (y - A(x))||^2.

    Model:
        CGLS from d = 0 with J the Jacobian of A at x. Its first iterate is steepest descent with
        exact line search, which is the projection onto the measurement where the rows of J are
        orthogonal and of equal norm, as in inpainting, single-coil MRI and structured sensing; it
        needs no operator norm. More iterations help where J is ill-conditioned, as in deblurring
        and tomography; few of them hardly amplify noise. It stops early where it has converged.
    Args:
        problem: of one image, or of several that share an operator: each takes its own steps.
        x: (B, C, H, W).
        iterations: at least 1.
    Cost:
        One evaluation of J and one of J^T per iteration.
    References:
        Hestenes and Stiefel (1952), Methods of Conjugate Gradients for Solving Linear Systems.
    """
    operator, n = Linearised(problem.physics, x), len(x)
    residual = problem.y - operator.value
    left, full = residual, torch.zeros_like(x)
    steepest = full
    direction = gradient = operator.pull(left)
    energy = first = _energy(gradient, n)
    for k in range(iterations):
        image = operator.push(direction)
        step = _ratio(energy, _energy(image, n))
        full = full + _times(step, direction)
        left = left - _times(step, image)
        steepest = full if k == 0 else steepest
        if k == iterations - 1:
            break
        gradient = operator.pull(left)
        before, energy = energy, _energy(gradient, n)
        going = energy > CONVERGED * first
        if not going.any():
            break
        direction = _times(going, gradient + _times(_ratio(energy, before), direction))
    return Correction(steepest, full, residual)


def is_identity(problem: InverseProblem) -> bool:
    """Return whether the operator of a problem is known to be the identity, as in denoising."""
    return isinstance(problem.physics, Denoising)


def constant_fit(problem: InverseProblem) -> Tensor:
    """Return the image of one value, (B, C, H, W), that explains y best.

    Model:
        c = <A(1), y> / ||A(1)||^2, the least-squares answer for operators with A(c 1) = c A(1),
        linear or not; 0 where A(1) is 0.
    """
    y, n = problem.y, problem.n_images
    dtype = torch.float64 if y.dtype in (torch.float64, torch.complex128) else torch.float32
    ones = torch.ones((n, *problem.image_shape), dtype=dtype, device=y.device)
    with torch.no_grad():
        seen = problem.physics.A(ones)
    return _times(_ratio(_inner(seen, y, n), _energy(seen, n)), ones)


def smooth_fit(problem: InverseProblem, x: Tensor, *, smoothness: float) -> Tensor:
    """Return the smooth image that explains y, (B, C, H, W): where a fit begins from nothing.

    Model:
        min_x s^2 ||A(x) - y||^2 + smoothness ||grad x||^2, linearised at a constant image, by 30
        conjugate gradients from there; s is the scale of the problem, grad the differences of
        neighbours. What y says nothing of is filled in: holes, high frequencies,
        and what random measurements leave open.
    Args:
        problem: of one image, or of several that share an operator: each takes its own steps.
        x: a constant image, such as that of ``constant_fit``.
        smoothness: at least 0.
    Cost:
        One evaluation of J and one of J^T per iteration.
    """
    operator, weight, n = Linearised(problem.physics, x), problem.scale**2, len(x)
    left = weight * operator.pull(problem.y - operator.value)
    direction, energy = left, _energy(left, n)
    first = energy
    for _ in range(SMOOTH_ITERATIONS):
        curved = weight * operator.pull(operator.push(direction))
        curved = curved + smoothness * _roughness_gradient(direction)
        step = _ratio(energy, _inner(direction, curved, n))
        x, left = x + _times(step, direction), left - _times(step, curved)
        before, energy = energy, _energy(left, n)
        going = energy > CONVERGED * first
        if not going.any():
            break
        direction = _times(going, left + _times(_ratio(energy, before), direction))
    return x


def _roughness_gradient(x: Tensor) -> Tensor:
    """Return half of the gradient of ||grad x||^2."""
    gradient = torch.zeros_like(x)
    for dim in (-2, -1):
        n = x.shape[dim] - 1
        difference = x.diff(dim=dim)
        gradient.narrow(dim, 1, n).add_(difference)
        gradient.narrow(dim, 0, n).sub_(difference)
    return gradient


def coverage(problem: InverseProblem, x: Tensor) -> Tensor:
    """Return what the measurement keeps of an image, (B, C, H, W).

    Model:
        t J^T J x with J the Jacobian of A at x, and t the step of exact line search along J^T J x:
        the projection of x onto the measured part where the rows of J are orthogonal and of equal
        norm. Of a constant image, that is the mask in inpainting and demosaicking.
    """
    operator, n = Linearised(problem.physics, x), len(x)
    kept = operator.pull(operator.push(x))
    return _times(_ratio(_energy(kept, n), _energy(operator.push(kept), n)), kept)


def _inner(a: Tensor, b: Tensor, n: int) -> Tensor:
    """Return the inner product (n,) of each image's part."""
    product = (a.conj() * b).real if a.is_complex() else a * b
    return product.reshape(n, -1).sum(1)


def _energy(tensor: Tensor, n: int) -> Tensor:
    """Return the squared norm (n,) of each image's part."""
    return tensor.abs().square().reshape(n, -1).sum(1)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """Return a / b, or 0 where b is not positive: a direction without curvature is not taken."""
    return torch.where(b > 0, a / b, 0.0)


def _times(factors: Tensor, tensor: Tensor) -> Tensor:
    """Multiply each image's part by its factor."""
    return factors.view(-1, *[1] * (tensor.ndim - 1)) * tensor
