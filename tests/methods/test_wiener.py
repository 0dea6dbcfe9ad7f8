"""Wiener deconvolution: its formula, the estimate of the noise, refusals."""

from typing import Any

import pytest
import torch
from deepinv.models import WienerDeconvolution
from deepinv.physics import BlurFFT, Denoising, GaussianNoise, PoissonNoise
from deepinv.physics.functional import gaussian_blur
from torch import Tensor

from metadip.data import read_image, sample_picture
from metadip.methods import Wiener
from metadip.metrics import psnr_db
from metadip.tasks import DeblurringTask
from metadip.types import InverseProblem, UserError

SHAPE = (3, 20, 25)


def task(noise_std: float) -> DeblurringTask:
    return DeblurringTask(
        "gaussian", kernel_std_px=1.5, kernel_size_px=5, boundary="circular", noise_std=noise_std
    )


def picture() -> Tensor:
    return read_image(sample_picture("astronaut.png"))[None, :, 40:160, 150:271]


def deblurred(problem: InverseProblem, **changes: Any) -> Tensor:
    settings: dict[str, Any] = {"noise": "known", "signal": "natural", "noise_factor": 1.0}
    settings |= changes
    return Wiener(**settings).reconstruct([problem])[0].x_hat


def test_the_formula_of_a_flat_spectrum() -> None:
    x = torch.rand((1, *SHAPE), generator=torch.Generator().manual_seed(0))
    problem = task(0.1).measure(x, seed=0)
    impulse = torch.zeros(1, *SHAPE)
    impulse[..., 0, 0] = 1
    h, y = (torch.fft.fft2(image) for image in (problem.physics.A(impulse), problem.y))
    ratio = 0.01 / problem.y.square().mean()
    expected = torch.fft.ifft2(h.conj() * y / (h.abs().square() + ratio)).real
    torch.testing.assert_close(deblurred(problem, signal="flat"), expected, rtol=1e-4, atol=1e-5)


def test_the_factor_multiplies_the_noise() -> None:
    problem = task(0.02).measure(picture(), seed=0)
    doubled = deblurred(problem, noise_factor=2.0)
    problem.physics.set_noise_model(GaussianNoise(0.04))
    torch.testing.assert_close(doubled, deblurred(problem))
    assert not torch.equal(doubled, deblurred(problem, noise_factor=2.0))


def test_the_ratio_of_amplitudes() -> None:
    x = torch.rand((1, *SHAPE), generator=torch.Generator().manual_seed(0))
    problem = task(0.1).measure(x, seed=0)
    y = problem.y
    flat = 0.1 / y.mean() * torch.ones(1, 1, SHAPE[1], SHAPE[2] // 2 + 1)
    expected = WienerDeconvolution(flat)(y, problem.physics)
    torch.testing.assert_close(deblurred(problem, signal="amplitude"), expected)


@pytest.mark.parametrize("noise_std", [0.001, 0.01, 0.1])
def test_it_deblurs_and_knows_photographs(noise_std: float) -> None:
    x = picture()
    problem = task(noise_std).measure(x, seed=0)
    scores = {
        name: psnr_db(deblurred(problem, **settings), x).item()
        for name, settings in {
            "natural": {},
            "flat": {"signal": "flat"},
            "estimated": {"noise": "estimated"},
        }.items()
    }
    assert scores["natural"] > psnr_db(problem.y, x).item() + 1
    assert scores["natural"] > scores["flat"]
    assert scores["estimated"] > scores["natural"] - 0.7


def test_no_noise_does_not_explode() -> None:
    problem = task(0.0).measure(picture(), seed=0)
    assert psnr_db(deblurred(problem), picture()) > psnr_db(problem.y, picture()) + 4


def test_refusals() -> None:
    x = torch.rand(1, *SHAPE)
    physics = BlurFFT(SHAPE, filter=gaussian_blur((5, 5), sigma=(1.0, 1.0)))
    for other, text in (
        (
            Denoising(GaussianNoise(0.1)),
            "method=wiener undoes circular blurs .* for Denoising, use",
        ),
        (physics, "needs the level of Gaussian noise, and BlurFFT has .*: set method.noise=estima"),
    ):
        other.set_noise_model(PoissonNoise(0.1) if other is physics else GaussianNoise(0.1))
        with pytest.raises(UserError, match=text):
            deblurred(InverseProblem(x, other, SHAPE))
    assert deblurred(InverseProblem(x, physics, SHAPE), noise="estimated").shape == x.shape
    with pytest.raises(UserError, match=r"method\.noise=guess is unknown; choose from known, esti"):
        Wiener(noise="guess", signal="flat", noise_factor=1.0)
    with pytest.raises(UserError, match=r"method\.signal=pink is unknown"):
        Wiener(noise="known", signal="pink", noise_factor=1.0)
    with pytest.raises(UserError, match=r"method\.noise_factor=0 must be above 0"):
        Wiener(noise="known", signal="flat", noise_factor=0)


def test_a_denoiser_is_told_what_noise_the_filter_lets_through() -> None:
    x, told = picture(), []

    def keep(image: Tensor, noise_std: float, /) -> Tensor:
        told.append(noise_std)
        return image.round()

    problem = task(0.05).measure(x, seed=0)
    wiener = Wiener(noise="known", signal="flat", noise_factor=1.0, denoiser=keep)
    result = wiener.reconstruct([problem])[0]
    plain = deblurred(problem, signal="flat")
    assert torch.equal(result.x_hat, plain.round())
    assert result.steps == 2
    clean = InverseProblem(problem.physics.A(x), problem.physics, problem.image_shape, seed=0)
    left = plain - deblurred(clean, signal="flat")  # the ratio follows y: the same within 2 %
    assert told[0] == pytest.approx(left.square().mean().sqrt().item(), rel=0.05)
