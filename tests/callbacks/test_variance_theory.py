"""The theorems on the running variance, for networks that are linear or nearly so.

Gradient descent on ||f(theta) - y||^2 / n with step ``LR`` moves the image along the left singular
vectors w_i of the Jacobian, each with its own rate: with eta = 2 LR / n and r_i = 1 - eta s_i^2 the
part of x_t - y along w_i is that of x_0 - y times r_i^t.
"""

import torch
from deepinv.physics import Denoising
from torch import Tensor, nn

from metadip.callbacks import ESWMV
from metadip.fitting import SGD, Execution, fit
from metadip.priors import Latent, LatentNetwork, draw_weights
from metadip.types import FitResult, InverseProblem
from tests.fitting.tiny import MSE, linear_prior, sensed

WINDOW, STEPS, LR = 4, 30, 0.5


def measured(
    prior: LatentNetwork, problem: InverseProblem, *, lr: float = LR, steps: int = STEPS
) -> FitResult:
    hooks = [ESWMV(WINDOW, patience=10**6, min_start=0)]
    rule, plain = SGD(lr=lr, momentum=0.0), Execution(backtracking=None)
    (result,) = fit([problem], prior, MSE, rule, steps=steps, hooks=hooks, execution=plain)
    return result


def jacobian(prior: LatentNetwork, problem: InverseProblem) -> tuple[Tensor, Tensor]:
    """Return the exact Jacobian (n, weights) of the image at the start, and the image (n,)."""
    weights, inputs = prior.start(problem)
    names = list(weights)

    def image(*tensors: Tensor) -> Tensor:
        named = dict(zip(names, tensors, strict=True))
        x: Tensor = torch.func.functional_call(
            prior, named, (problem.image_shape[1:],), dict(inputs)
        ).x
        return x.flatten()

    given = tuple(weight.detach() for weight in weights.values())
    parts = torch.autograd.functional.jacobian(image, given)
    rows = [part.reshape(len(part), -1) for part in parts]
    return torch.cat(rows, dim=1), image(*given)


def predicted(j: Tensor, residual: Tensor, *, lr: float, steps: int) -> Tensor:
    """Return v_t of theorem 1 for steps 0 to ``steps``, NaN before the window is full.

    The variance of the window that ends at t is sum_i C_i <w_i, y - x_0>^2 r_i^(2 (t - W + 1)) / n,
    with C_i the variance of r_i^0, ..., r_i^(W - 1).
    """
    n = len(residual)
    w, s, _ = torch.linalg.svd(j, full_matrices=False)
    r = 1 - 2 * lr / n * s.square()
    powers = r[:, None] ** torch.arange(WINDOW)
    c = powers.var(dim=1, correction=0)
    share = (w.T @ residual).square()
    starts = torch.arange(steps + 1 - (WINDOW - 1))
    curve = (c * share) @ r[:, None] ** (2 * starts) / n
    return torch.cat([torch.full((WINDOW - 1,), torch.nan, dtype=curve.dtype), curve])


def denoising(x: Tensor) -> InverseProblem:
    return InverseProblem(x, Denoising(), tuple(x.shape[1:]))  # type: ignore[arg-type]


def test_theorem_1_holds_exactly_where_the_network_is_linear() -> None:
    prior, shape = linear_prior(), sensed(0, 4, (2, 8, 8))
    assert shape.x is not None
    problem = denoising(shape.x)
    j, x0 = jacobian(prior, problem)
    expected = predicted(j, problem.y.flatten() - x0, lr=LR, steps=STEPS)
    variance = measured(prior, problem).curves["variance"]
    assert expected.nan_to_num().max() > 1e-5
    torch.testing.assert_close(variance, expected, rtol=1e-8, atol=1e-14, equal_nan=True)


class Curved(nn.Module):
    """Two 1x1 convolutions with a bend between them."""

    in_channels, out_channels = 3, 1

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.last(torch.tanh(self.first(z)))
        return image


def test_theorem_1_holds_nearly_for_small_steps_of_a_curved_network() -> None:
    """The steps stay near the start, where the Jacobian is the exact one."""
    latent = Latent(3, size_px=8, n_wavelengths=0, noise_scale=1.0)
    prior = LatentNetwork(draw_weights(Curved(), seed=1), latent, learned=True).double()
    generator = torch.Generator().manual_seed(0)
    weights, inputs = prior.start(denoising(torch.zeros(1, 1, 8, 8).double()))
    x0 = prior((8, 8), **inputs).x.detach()
    problem = denoising(x0 + 0.05 * torch.randn(x0.shape, generator=generator).double())
    j, start = jacobian(prior, problem)
    expected = predicted(j, problem.y.flatten() - start, lr=0.05, steps=12)[WINDOW - 1 :]
    variance = measured(prior, problem, lr=0.05, steps=12).curves["variance"][WINDOW - 1 :]
    torch.testing.assert_close(variance, expected, rtol=0.05, atol=0)
    assert expected[-1] < 0.9 * expected[0]  # it falls, so that this says something
    assert len(weights) == 4


def test_theorem_2_bounds_the_variance() -> None:
    """The signal lies in the first p singular vectors, so that its share outside, eps, is 0."""
    prior, p = linear_prior(), 3
    blank = denoising(torch.zeros(1, 2, 8, 8).double())
    j, x0 = jacobian(prior, blank)
    w, s, _ = torch.linalg.svd(j, full_matrices=False)
    generator = torch.Generator().manual_seed(0)
    x = w[:, :p] @ torch.randn(p, generator=generator).double()
    noise = 0.1 * torch.randn(len(x), generator=generator).double()
    y = (x0 + x + noise).reshape(1, 2, 8, 8)  # a fit from x_0 is one from 0 of y - x_0
    variance = measured(prior, denoising(y)).curves["variance"] * len(x)
    eta = 2 * LR / len(x)
    r = 1 - eta * s.square()
    assert bool((r > 0).all())
    for t in range(STEPS + 2 - WINDOW):
        slowest = r[p - 1] ** 2
        of_signal = 12 / WINDOW * x.square().sum() * slowest**t / (1 - slowest)
        of_noise = 12 * ((r ** (t + WINDOW - 1) - 1).square() * (w.T @ noise).square()).sum()
        assert 0 < variance[t + WINDOW - 1] <= of_signal + of_noise
