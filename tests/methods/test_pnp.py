"""Denoisers as methods, and plug-and-play ADMM: closed forms, refusals, and what hooks see."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from deepinv.physics import Blur, Denoising, GaussianNoise, Inpainting, SaltPepperNoise
from torch import Tensor, nn

from metadip.callbacks import FitCallback, OraclePSNR
from metadip.methods import TV, DenoiserReconstructor, PnPADMM
from metadip.methods.pnp import FIRST_STRENGTH, data_update, squared_norm, start_of, strengths
from metadip.metrics import psnr_db
from metadip.physics.operators import GaussianSensing, Magnitude
from metadip.tasks import CompressiveSensingTask, InpaintingTask, PhaseRetrievalTask
from metadip.types import FitState, InverseProblem, UserError
from tests.methods.test_denoisers import noise, picture

SENSING: dict[str, Any] = {"noise_std": 0.0, "operator": "structured", "max_bytes": 2**20}


class Shrink(nn.Module):
    """A linear denoiser: the proximal map of tau rho / 2 ||v||^2 at any strength."""

    def __init__(self, tau: float):
        super().__init__()
        self.tau = tau

    def forward(self, y: Tensor, noise_std: float) -> Tensor:
        return y / (1 + self.tau)


class Look(FitCallback):
    """Keep every image, and stop at a step."""

    def __init__(self, stop: int | None = None):
        self.images, self.stop = [], stop  # type: ignore[var-annotated]

    def on_step_end(self, state: FitState) -> None:
        self.images.append(state.x_hat.clone())
        if state.step == self.stop:
            state.stop(torch.tensor([True]), "seen enough")


def gaussian(n_measurements: int) -> GaussianSensing:
    operator = GaussianSensing((1, 6, 7), n_measurements=n_measurements, seed=0, max_bytes=2**20)
    return operator.double()  # type: ignore[no-any-return]


def test_a_linear_denoiser_leads_to_the_closed_form():
    A, tau, rho = gaussian(20), 0.3, 0.5
    x = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(1)).double()
    y = A.A(x)
    method = PnPADMM(Shrink(tau), strength=0.1, penalty=rho, iterations=300)
    matrix = A.matrix
    expected = torch.linalg.solve(
        matrix.T @ matrix + tau * rho * torch.eye(42).double(), matrix.T @ y[0]
    )
    problem = InverseProblem(y, A, (1, 6, 7))
    x_hat = method.reconstruct([problem])[0].x_hat
    torch.testing.assert_close(x_hat.flatten(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_linear_updates_solve_their_equation(scale: float):
    A, rho = gaussian(20), 0.2
    y, z = torch.randn(1, 20).double(), torch.randn(1, 1, 6, 7).double()
    x = data_update(InverseProblem(y, A, (1, 6, 7), scale=scale), penalty=rho)(z)
    left = scale**2 * A.A_adjoint(A.A(x)) + rho * x
    right = scale**2 * A.A_adjoint(y) + rho * z
    torch.testing.assert_close(left, right, rtol=0, atol=2e-3)


def test_closed_forms():
    y, z = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    x = data_update(InverseProblem(y, Denoising(), (3, 8, 8)), penalty=0.25)(z)
    torch.testing.assert_close(x, (y + 0.25 * z) / 1.25)
    problem = InpaintingTask(0.5, noise_std=0.0, per_channel=False).measure(y, seed=0)
    mask = problem.scale * problem.physics.mask
    x = data_update(problem, penalty=0.25)(z)
    expected = (problem.scale * mask * problem.y + 0.25 * z) / (mask**2 + 0.25)
    torch.testing.assert_close(x, expected)
    torch.testing.assert_close(start_of(problem), mask.square() * problem.y)


def test_updates_for_amplitudes_lower_the_objective():
    A, rho = Magnitude(gaussian(42)), 0.2
    y = A.A(torch.rand(1, 1, 6, 7).double())
    update = data_update(InverseProblem(y, A, (1, 6, 7)), penalty=rho)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(1, 1, 6, 7, generator=generator).double()
        x = update(z)
        before = (A.A(z) - y).square().sum() / 2
        after = (A.A(x) - y).square().sum() / 2 + rho / 2 * (x - z).square().sum()
        assert after < 0.8 * before


def test_start_and_norm():
    A = gaussian(42)
    norm = torch.linalg.matrix_norm(A.matrix, 2).item() ** 2
    assert norm <= squared_norm(A, torch.zeros(1, 1, 6, 7).double()) <= 1.15 * norm
    y = Magnitude(A).A(torch.rand(1, 1, 6, 7).double())
    start = start_of(InverseProblem(y, Magnitude(A), (1, 6, 7)))
    assert start.unique().numel() == 1
    assert A.A(start).norm().item() == pytest.approx(y.norm().item())


def test_strengths_fall_to_the_last():
    assert strengths(0.1, 1) == [pytest.approx(0.1)]
    assert strengths(0.7, 3) == [pytest.approx(0.7)] * 3
    assert strengths(0.1, 9)[::8] == [pytest.approx(FIRST_STRENGTH), pytest.approx(0.1)]


@pytest.mark.parametrize(
    ("task", "gain_db"),
    [
        (CompressiveSensingTask(0.5, **SENSING), 15),
        (PhaseRetrievalTask(1.0, **SENSING), 8),
        (InpaintingTask(0.5, noise_std=0.0, per_channel=False), 15),
    ],
)
def test_pictures_are_reconstructed(task: Any, gain_db: float):
    problem = task.measure(picture(32, 40), seed=0)
    method = PnPADMM(TV(0.75), strength=0.06, penalty=0.2, iterations=20)
    result = method.reconstruct([problem], hooks=[OraclePSNR()])[0]
    curve = result.curves["psnr_db"]
    assert curve[-1] > curve[0] + gain_db
    assert problem.x is not None
    assert psnr_db(result.x_hat, problem.x).item() == pytest.approx(curve[-1].item())
    assert (result.steps, len(curve), result.stop_step) == (20, 21, None)
    assert result.curves["loss"][-1] < 0.1 * result.curves["loss"][0]


def test_hooks_see_every_turn_and_may_stop():
    y = picture(16, 16)
    method = PnPADMM(TV(0.75), strength=0.06, penalty=0.2, iterations=9)
    look = Look(stop=4)
    result = method.reconstruct([InverseProblem(y, Denoising(), (3, 16, 16))], hooks=[look])[0]
    assert len(look.images) == 5
    assert torch.equal(look.images[0], y)
    assert torch.equal(look.images[-1], result.x_hat)
    assert (result.steps, result.stop_step, result.stop_reason) == (4, 4, "seen enough")
    assert len(result.curves["loss"]) == 5


def test_a_denoiser_as_a_method():
    x = picture(20, 24)
    y = torch.cat([x + noise(x), x + 0.1 * noise(x, seed=1)])
    levels = torch.tensor([25 / 255, 2.5 / 255])
    method = DenoiserReconstructor(TV(0.75))
    x_hat = method(y, Denoising(GaussianNoise(levels)))
    expected = [TV(0.75)(y[i : i + 1], levels[i].item()) for i in range(2)]
    torch.testing.assert_close(x_hat, torch.cat(expected))
    assert torch.equal(method(y, Denoising(GaussianNoise(0.0))), y)
    problem = InverseProblem(y[:1], Denoising(GaussianNoise(0.1)), (3, 20, 24), x=x)
    result = method.reconstruct([problem], hooks=[OraclePSNR()])[0]
    assert result.steps == 1
    assert result.curves["psnr_db"][1] > result.curves["psnr_db"][0] + 3


METHODS: dict[str, Callable[[], Any]] = {
    "denoiser": lambda: DenoiserReconstructor(TV(0.75)),
    "pnp_admm": lambda: PnPADMM(TV(0.75), strength=0.06, penalty=0.2, iterations=3),
}


@pytest.mark.parametrize("name", METHODS)
def test_what_deepinv_asks_of_a_reconstructor(name: str):
    """Odd sizes, 1 to 4 channels, repeatable in every mode, copies, other precision."""
    method, physics = METHODS[name](), Denoising(GaussianNoise(0.1))
    stream = torch.get_rng_state()
    for channels, size in ((1, (25, 33)), (2, (16, 17)), (3, (17, 16)), (4, (16, 16))):
        generator = torch.Generator().manual_seed(0)
        y = torch.rand(2, channels, *size, generator=generator)
        first = method(y, physics)
        assert first.shape == y.shape
        assert not first.requires_grad
        torch.testing.assert_close(first[1:], method(y[1:], physics))
        with torch.inference_mode():
            again = method.eval()(y.clone(), physics)
            assert torch.equal(again, first)
        for twin in (copy.deepcopy(method), pickle.loads(pickle.dumps(method))):
            assert torch.equal(twin(y, physics), first)
        assert method(y.double(), Denoising(GaussianNoise(0.1)).double()).dtype == torch.float64
    assert torch.equal(torch.get_rng_state(), stream)


def test_plug_and_play_on_other_linear_operators():
    x, kernel = picture(20, 24), torch.full((1, 1, 3, 3), 1 / 9)
    method = METHODS["pnp_admm"]()
    for physics in (
        Blur(filter=kernel, padding="circular"),
        Inpainting((3, 20, 24), mask=(torch.rand(1, 20, 24) > 0.3).float()),
    ):
        y = physics.A(torch.cat([x, x.flip(-1)]))
        x_hat = method(y, physics)
        assert x_hat.shape == (2, 3, 20, 24)
        assert x_hat.isfinite().all()


def test_the_scale_of_an_operator_does_not_matter():
    mask = (torch.rand(1, 20, 24, generator=torch.Generator().manual_seed(0)) > 0.3).float()
    images = []
    for gain in (0.1, 20.0):
        physics = Inpainting((3, 20, 24), mask=gain * mask)
        images.append(METHODS["pnp_admm"]()(physics.A(picture(20, 24)), physics))
    torch.testing.assert_close(*images, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        {"strength": 0.0, "penalty": 0.2, "iterations": 3},
        {"strength": 0.1, "penalty": -1.0, "iterations": 3},
        {"strength": 0.1, "penalty": 0.2, "iterations": 0},
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any]):
    given = "{strength}, {penalty} and {iterations}".format(**arguments)
    with pytest.raises(ValueError, match=f"need strength > 0, .* got {given}"):
        PnPADMM(TV(0.75), **arguments)


def test_what_cannot_be_served_is_refused():
    x = picture(16, 16)
    denoiser, pnp = METHODS["denoiser"](), METHODS["pnp_admm"]()
    masked = Inpainting((3, 16, 16), mask=torch.ones(1, 16, 16))
    with pytest.raises(UserError, match="for Inpainting use method=pnp_admm denoiser=tv"):
        denoiser(x, masked)
    with pytest.raises(UserError, match="Denoising has SaltPepperNoise: use method=metadip"):
        denoiser(x, Denoising(SaltPepperNoise(0.1, 0.1)))
    from deepinv.physics import Physics

    with pytest.raises(UserError, match=r"and amplitudes \(task=cpr\), not Physics: use method"):
        pnp.reconstruct([InverseProblem(x, Physics(), (3, 16, 16))])
    with pytest.raises(UserError, match="real measurements, and those of Denoising are complex"):
        pnp.reconstruct([InverseProblem(x + 0j, Denoising(), (3, 16, 16))])
