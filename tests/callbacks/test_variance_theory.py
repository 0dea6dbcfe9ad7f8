"""The theorems on the running variance, for networks that are linear or nearly so.

The prediction is that of ``benchmarks/variance_theory.py``, whose docstring derives it.
"""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from deepinv.physics import Denoising
from torch import Tensor, nn

from metadip.priors import Latent, LatentNetwork, draw_weights
from metadip.types import InverseProblem
from tests.fitting.tiny import linear_prior, sensed

WINDOW, STEPS, LR = 4, 30, 0.5
RUN = {"lr": LR, "steps": STEPS, "window": WINDOW}


@pytest.fixture
def theory(monkeypatch: pytest.MonkeyPatch, repo: Path) -> ModuleType:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    return importlib.import_module("variance_theory")


def denoising(x: Tensor) -> InverseProblem:
    return InverseProblem(x, Denoising(), tuple(x.shape[1:]))  # type: ignore[arg-type]


def test_theorem_1_holds_exactly_where_the_network_is_linear(theory: ModuleType):
    prior, shape = linear_prior(), sensed(0, 4, (2, 8, 8))
    assert shape.x is not None
    problem = denoising(shape.x)
    j, x0 = theory.jacobian(prior, problem)
    expected = theory.predicted(j, problem.y.flatten() - x0, **RUN)
    variance = theory.measured(prior, problem, **RUN)
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


def test_theorem_1_holds_nearly_for_small_steps_of_a_curved_network(theory: ModuleType):
    """The steps stay near the start, where the Jacobian is the exact one."""
    latent = Latent(3, size_px=8, n_wavelengths=0, noise_scale=1.0)
    prior = LatentNetwork(draw_weights(Curved(), seed=1), latent, learned=True).double()
    generator = torch.Generator().manual_seed(0)
    weights, inputs = prior.start(denoising(torch.zeros(1, 1, 8, 8).double()))
    x0 = prior((8, 8), **inputs).x.detach()
    problem = denoising(x0 + 0.05 * torch.randn(x0.shape, generator=generator).double())
    j, start = theory.jacobian(prior, problem)
    few = {"lr": 0.05, "steps": 12, "window": WINDOW}
    expected = theory.predicted(j, problem.y.flatten() - start, **few)[WINDOW - 1 :]
    variance = theory.measured(prior, problem, **few)[WINDOW - 1 :]
    torch.testing.assert_close(variance, expected, rtol=0.05, atol=0)
    assert expected[-1] < 0.9 * expected[0]  # it falls, so that this says something
    assert len(weights) == 4


def test_theorem_2_bounds_the_variance(theory: ModuleType):
    """The signal lies in the first p singular vectors, so that its share outside, eps, is 0."""
    prior, p = linear_prior(), 3
    blank = denoising(torch.zeros(1, 2, 8, 8).double())
    j, x0 = theory.jacobian(prior, blank)
    w, s, _ = torch.linalg.svd(j, full_matrices=False)
    generator = torch.Generator().manual_seed(0)
    x = w[:, :p] @ torch.randn(p, generator=generator).double()
    noise = 0.1 * torch.randn(len(x), generator=generator).double()
    y = (x0 + x + noise).reshape(1, 2, 8, 8)  # a fit from x_0 is one from 0 of y - x_0
    variance = theory.measured(prior, denoising(y), **RUN) * len(x)
    eta = 2 * LR / len(x)
    r = 1 - eta * s.square()
    assert bool((r > 0).all())
    for t in range(STEPS + 2 - WINDOW):
        slowest = r[p - 1] ** 2
        of_signal = 12 / WINDOW * x.square().sum() * slowest**t / (1 - slowest)
        of_noise = 12 * ((r ** (t + WINDOW - 1) - 1).square() * (w.T @ noise).square()).sum()
        assert 0 < variance[t + WINDOW - 1] <= of_signal + of_noise


def test_the_benchmark_writes_both_variances_and_a_picture(theory: ModuleType, tmp_path: Path):
    few = ["--steps", "5", "--window", "4", "--size", "8", "--lr", "1e-6"]
    assert theory.main(["--out", str(tmp_path), "--picture", str(tmp_path / "v.png"), *few]) == 0
    header, *rows = (tmp_path / "variance_theory.csv").read_text().splitlines()
    assert header == "lr,step,predicted,measured"
    assert len(rows) == 1
    for row in rows:
        _, _, predicted, measured = map(float, row.split(","))
        assert measured == pytest.approx(predicted, rel=0.1)
    assert (tmp_path / "v.png").read_bytes().startswith(b"\x89PNG")
