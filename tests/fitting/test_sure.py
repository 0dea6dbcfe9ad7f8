"""The divergence of Stein's estimate, against the whole Jacobian of a small network."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from deepinv.physics import Denoising, GaussianNoise, Inpainting, PoissonNoise
from torch import Tensor, nn

from metadip import registry
from metadip.fitting import Adam, Backtracking, Execution, Sum, SureDivergence, fit, mse
from metadip.fitting.step import fit_step
from metadip.fitting.unknowns import unknowns_of
from metadip.physics.noise_level import estimated_noise_std
from metadip.priors import BackProjection, LatentNetwork
from metadip.types import FitResult, InverseProblem, Look, UserError

N = 16
SIGMA = 0.3


class Denoiser(nn.Module):
    """Two convolutions with a normalisation between them, smooth."""

    in_channels = out_channels = 1

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1),
            nn.BatchNorm2d(3, track_running_stats=False),
            nn.Softplus(),
            nn.Conv2d(3, 1, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.parts(z)
        return image


def prior() -> LatentNetwork:
    torch.manual_seed(0)
    return LatentNetwork(Denoiser(), BackProjection(1), learned=True).double()


def noisy(seed: int, physics: Any = None) -> InverseProblem:
    y = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    physics = physics or Denoising(GaussianNoise(SIGMA))
    return InverseProblem(y, physics, (1, 4, 4), seed=seed)


def terms_of(
    problems: list[InverseProblem],
    draw: Callable[[Tensor], Tensor],
    term: Callable[[Look], Tensor] = SureDivergence(),  # noqa: B008, frozen
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the term at some images, and its derivatives in the weights."""
    network = prior()
    starts = [network.start(problem) for problem in problems]
    names = tuple(starts[0].weights)
    unknowns = unknowns_of(network, starts, names, size=(4, 4), autocast=None)

    def objective(look: Look) -> Tensor:
        return term(look) + 0 * mse(look)  # which the last bias is part of

    output = fit_step(unknowns, problems, objective, draw=draw)
    return output.loss.detach(), output.grads


def given(b: Tensor, like: Tensor) -> Tensor:
    """Draw what is given."""
    return b


def jacobian(y: Tensor, network: nn.Module, **options: Any) -> Tensor:
    found = torch.autograd.functional.jacobian(network, y, **options)
    assert isinstance(found, Tensor)
    return found.reshape(N, N)


def test_the_term_and_its_derivatives_are_those_of_the_jacobian():
    problem, network = noisy(1), prior().network
    b = torch.randn(N, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found, grads = terms_of([problem], lambda like: b.view(like.shape))
    product = b @ jacobian(problem.y, network, create_graph=True) @ b
    expected = 2 * SIGMA**2 * product / N - SIGMA**2
    torch.testing.assert_close(found, expected.detach()[None], rtol=1e-6, atol=1e-9)
    derivatives = torch.autograd.grad(
        expected, list(network.parameters()), allow_unused=True, materialize_grads=True
    )
    assert sum(bool(d.abs().max() > 1e-6) for d in derivatives) == 4  # biases cancel or drop out
    for ours, theirs in zip(grads, derivatives, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_an_estimated_level_is_that_of_the_image():
    problem, b = noisy(1), torch.ones(1, 1, 4, 4, dtype=torch.float64)
    std = estimated_noise_std(problem.y).item()
    assert abs(std - SIGMA) > 0.01
    estimated, _ = terms_of([problem], partial(given, b), SureDivergence("estimate"))
    given_it, _ = terms_of([problem], partial(given, b), SureDivergence(std))
    torch.testing.assert_close(estimated, given_it)


def test_its_mean_is_the_trace():
    problem = noisy(1)
    trace = jacobian(problem.y, prior().network).trace()
    expected = 2 * SIGMA**2 * trace / N - SIGMA**2
    basis = (N**0.5 * torch.eye(N, dtype=torch.float64)).view(N, 1, 1, 4, 4)
    over_basis = [terms_of([problem], partial(given, b))[0] for b in basis]
    torch.testing.assert_close(torch.cat(over_basis).mean(), expected, rtol=1e-6, atol=1e-9)
    many = [problem] * 4000
    generator = torch.Generator().manual_seed(0)
    drawn, _ = terms_of(many, lambda like: torch.randn(like.shape, generator=generator).double())
    assert (drawn.mean() - expected).abs() < 4 * drawn.std() / len(many) ** 0.5
    assert drawn.std() < expected.abs() * len(many) ** 0.5 / 8  # so that this says something


def test_images_do_not_mix():
    problems = [noisy(seed) for seed in range(3)]
    b = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together, _ = terms_of(problems, partial(given, b))
    alone = [terms_of([p], partial(given, b[i : i + 1]))[0] for i, p in enumerate(problems)]
    torch.testing.assert_close(together, torch.cat(alone))


def run(problems: list[InverseProblem], *, stacked: bool, std: float | None) -> list[FitResult]:
    execution = Execution(stacked=stacked, backtracking=Backtracking(check_every=1))
    objective = Sum(mse, {"sure": SureDivergence(std)})
    rule = Adam(lr=0.01)
    return fit(problems, prior(), objective, rule, steps=20, execution=execution)


def test_fits_are_the_same_alone_and_together():
    problems = [noisy(seed) for seed in range(3)]
    runs = (run(problems, stacked=stacked, std=None) for stacked in (False, True))
    for one, other in zip(*runs, strict=True):
        torch.testing.assert_close(one.curves["loss"], other.curves["loss"], rtol=1e-6, atol=1e-9)


def test_a_negative_objective_is_no_divergence():
    (result,) = run([noisy(1)], stacked=False, std=1.0)
    assert (result.curves["loss"] < 0).sum() > 10
    assert (result.rollbacks, result.steps, result.stop_reason) == (0, 20, None)


def test_description_rebuilds_the_term():
    term = SureDivergence(0.2, input="y")
    assert registry.build("term", term.description) == term  # type: ignore[attr-defined]


def test_what_it_cannot_serve_is_refused():
    with pytest.raises(ValueError, match="noise_std must be above 0 or estimate, got 0"):
        SureDivergence(0)
    with pytest.raises(ValueError, match="noise_std must be above 0 or estimate, got guess"):
        SureDivergence("guess")
    with pytest.raises(UserError, match=r"input 'y' that is the noisy image \(1, 1, 4, 4\)"):
        terms_of([noisy(1)], torch.zeros_like, SureDivergence(input="y"))
    masked = Inpainting((1, 4, 4), mask=torch.ones(1, 4, 4).tril(), noise_model=GaussianNoise(0.1))
    with pytest.raises(UserError, match="SURE serves denoising alone"):
        terms_of([noisy(1, masked)], torch.zeros_like)
    silent = noisy(1, Denoising(GaussianNoise(0.0)))
    with pytest.raises(
        UserError, match="the GaussianNoise of the measurement tells no noise level"
    ):
        terms_of([silent], torch.zeros_like)


def test_poisson_noise_weighs_the_divergence_by_y():
    """PURE: 2 gain sum_i y_i J_ii / n - gain mean(y), from the whole Jacobian."""
    gain = 0.2
    problem = noisy(1, Denoising(PoissonNoise(gain=gain)).double())
    y = problem.y.flatten()
    diagonal = jacobian(problem.y, prior().network).diagonal()
    expected = 2 * gain * (y * diagonal).sum() / N - gain * y.mean()
    basis = (N**0.5 * torch.eye(N, dtype=torch.float64)).view(N, 1, 1, 4, 4)
    over_basis = [terms_of([problem], partial(given, b))[0] for b in basis]
    torch.testing.assert_close(torch.cat(over_basis).mean(), expected, rtol=1e-6, atol=1e-9)


def test_pure_estimates_the_error_of_a_linear_denoiser():
    """Over many draws the sum of misfit and term is the true error; for linear f exactly."""
    gain, n_draws = 0.2, 40_000
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, N, generator=generator).double()
    h = torch.rand(N, N, generator=generator).double() / 8
    y = gain * torch.poisson((x / gain).expand(n_draws, N), generator=generator)
    f = y @ h.T
    term = 2 * gain * (y * h.diagonal()).mean(dim=1) - gain * y.mean(dim=1)
    estimate = (f - y).square().mean(dim=1) + term
    error = (f - x).square().mean(dim=1)
    spread = (estimate - error).std() / n_draws**0.5
    assert (estimate.mean() - error.mean()).abs() < 4 * spread
    assert spread < 0.02 * error.mean()
