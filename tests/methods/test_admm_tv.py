"""Total variation by ADMM: against its objective, a denoiser, and other tasks; refusals."""

import pytest
import torch
from deepinv.physics import Denoising, GaussianNoise
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor

from metadip.data import read_image, sample_picture
from metadip.methods import TotalVariationADMM
from metadip.methods.admm_tv import conjugate_gradients, gradient, gradient_adjoint
from metadip.metrics import psnr_db
from metadip.tasks import InpaintingTask, PhaseRetrievalTask, SuperResolutionTask
from metadip.types import InverseProblem, UserError


def picture(side: int = 40) -> Tensor:
    return read_image(sample_picture("astronaut.png"), channels=1)[None, :, 60 : 60 + side, 180:220]


def solved(
    problem: InverseProblem, weight: float, penalty: float = 1.0, iterations: int = 60
) -> Tensor:
    method = TotalVariationADMM(weight=weight, penalty=penalty, iterations=iterations)
    x_hat: Tensor = method.reconstruct([problem])[0].x_hat
    return x_hat


def test_gradient_and_its_adjoint() -> None:
    x, v = torch.rand(2, 3, 5, 6).double(), torch.rand(2, 2, 3, 5, 6).double()
    slopes = gradient(x)
    torch.testing.assert_close((slopes * v).sum(), (x * gradient_adjoint(v)).sum())
    torch.testing.assert_close(slopes[0, ..., :-1, :], x.diff(dim=-2))
    torch.testing.assert_close(slopes[1, ..., :-1], x.diff(dim=-1))
    assert not slopes[0, ..., -1, :].any()


def test_conjugate_gradients_solve() -> None:
    matrix = torch.randn(6, 6, generator=torch.Generator().manual_seed(0)).double()
    normal, right = matrix @ matrix.T + torch.eye(6), torch.ones(6).double()
    found = conjugate_gradients(lambda v: normal @ v, right, torch.zeros(6).double())
    torch.testing.assert_close(normal @ found, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("penalty", [0.3, 3.0])
def test_denoising_is_that_of_chambolle(penalty: float) -> None:
    y = picture() + 0.1 * torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    problem = InverseProblem(y, Denoising(GaussianNoise(0.1)), (1, 40, 40))
    found = solved(problem, 0.1, penalty, iterations=150)
    expected = denoise_tv_chambolle(y[0, 0].numpy(), weight=0.1, eps=1e-9, max_num_iter=3000)
    torch.testing.assert_close(found[0, 0], torch.from_numpy(expected), rtol=0, atol=0.01)

    def objective(x: Tensor) -> float:
        slopes = gradient(x).square().sum(0).sqrt()
        return float((x - y).square().sum() / 2 + 0.1 * slopes.sum())

    assert objective(found) < 1.0005 * objective(torch.from_numpy(expected)[None, None])


def test_it_serves_linear_tasks() -> None:
    x = picture()
    lost = InpaintingTask(0.5, noise_std=0.0, per_channel=False).measure(x, seed=0)
    assert psnr_db(solved(lost, 0.003), x) > psnr_db(lost.y, x) + 10
    small = SuperResolutionTask(2, kernel="lanczos2", noise_std=0.0).measure(x, seed=0)
    assert psnr_db(solved(small, 0.003), x) > psnr_db(4 * small.physics.A_adjoint(small.y), x) + 1


def test_the_scale_is_that_of_the_problem() -> None:
    x = picture()
    problem = InpaintingTask(0.5, noise_std=0.0, per_channel=False).measure(x, seed=0)
    assert not torch.allclose(
        solved(problem, 0.1), solved(InverseProblem(problem.y, problem.physics, (1, 40, 40)), 0.1)
    )


def test_refusals() -> None:
    task = PhaseRetrievalTask(1.0, noise_std=0.0, operator="structured", max_bytes=2**20)
    with pytest.raises(UserError, match="method=admm_tv serves linear operators, not Magnitude"):
        solved(task.measure(picture(), seed=0), 0.1)
    with pytest.raises(ValueError, match="need weight > 0, penalty > 0 and iterations >= 1, got 0"):
        TotalVariationADMM(weight=0, penalty=1, iterations=1)
