"""A learned prior as a plain denoiser, alone and inside plug-and-play methods."""

from types import SimpleNamespace
from typing import Any

import deepinv
import pytest
import torch

import metadip
from metadip.methods import LearnedDenoiser, PnPADMM
from metadip.methods.denoisers import of_one_reconstruction
from metadip.metrics import psnr_db
from metadip.priors import BackProjection, LatentNetwork, ResidualUNet
from metadip.types import InverseProblem, UserError
from tests.methods.test_denoisers import NOISE_STD, noise, picture


def test_a_learned_prior_denoises_photographs_by_its_first_pass():
    x = torch.cat([picture(40, 44), picture(40, 44).flip(-1)])
    y = (x + noise(x)).double()
    denoiser = LearnedDenoiser("photo")
    x_hat = denoiser(y, NOISE_STD)
    assert (x_hat.shape, x_hat.dtype) == (y.shape, torch.float64)
    assert psnr_db(x_hat, x).min() > psnr_db(y, x).max() + 6
    torch.testing.assert_close(denoiser(y[1:], NOISE_STD), x_hat[1:])
    grey = denoiser(y[:, :1], NOISE_STD)
    assert psnr_db(grey, x[:, :1]).min() > psnr_db(y[:, :1], x[:, :1]).max() + 5
    network = ResidualUNet(3, out_channels=3, channels=[4])
    denoiser.prior = LatentNetwork(network, BackProjection(3), learned=True)
    with pytest.raises(UserError, match=r"of 3 channels, asked for 2; denoiser.ckpt=photo takes"):
        denoiser(y[:, :2], NOISE_STD)


def test_a_learned_prior_is_a_denoiser_of_deepinvs_plug_and_play():
    x = picture(40, 44)
    kernel = deepinv.physics.functional.blur.gaussian_blur(sigma=1.0)
    physics = deepinv.physics.BlurFFT((3, 40, 44), filter=kernel)
    y = physics(x) + 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    prior = deepinv.optim.PnP(denoiser=metadip.denoiser())
    model = deepinv.optim.HQS(
        data_fidelity=deepinv.optim.L2(), prior=prior, stepsize=3.0, sigma_denoiser=0.1, max_iter=20
    )
    x_hat = model(y, physics)
    assert psnr_db(x_hat, x).item() > psnr_db(y, x).item() + 2


def test_added_noise_hides_what_does_not_look_like_noise():
    """Lost pixels are filled better where noise of a falling level is added before each call."""
    x = picture(40, 44)
    mask = (torch.rand(1, 40, 44, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    problem = InverseProblem(
        mask * x, deepinv.physics.Inpainting((3, 40, 44), mask=mask), (3, 40, 44)
    )
    found = {}
    for add_noise in (False, True):
        method = PnPADMM(
            metadip.denoiser("photo", add_noise=add_noise),
            strength=0.02, penalty=0.2, iterations=15,
        )  # fmt: skip
        found[add_noise] = method.reconstruct([problem])[0].x_hat
        assert torch.equal(method.reconstruct([problem])[0].x_hat, found[add_noise])
    assert psnr_db(found[True], x).item() > psnr_db(found[False], x).item() + 1


def unchanged(problems: list[InverseProblem], *_: Any, **__: Any) -> list[SimpleNamespace]:
    return [SimpleNamespace(x_hat=problem.y) for problem in problems]


def test_added_noise_is_of_the_level_told_and_of_one_seed(monkeypatch: pytest.MonkeyPatch):
    denoiser = LearnedDenoiser("photo", add_noise=True, seed=1)
    monkeypatch.setattr("metadip.methods.learned_denoiser.fit", unchanged)
    x = torch.full((1, 3, 64, 64), 0.5)
    first, again = denoiser(x, 0.2), denoiser(x, 0.2)
    assert (first - x).std().item() == pytest.approx(0.2, rel=0.03)
    assert torch.equal(first, again)
    going_on = of_one_reconstruction(denoiser)
    assert torch.equal(going_on(x, 0.2), first)
    assert not torch.equal(going_on(x, 0.2), first)
    assert torch.equal(LearnedDenoiser("photo")(x, 0.2), x)
    assert not torch.equal(LearnedDenoiser("photo", add_noise=True)(x, 0.2), first)


def test_every_second_call_of_a_reconstruction_sees_the_image_mirrored(
    monkeypatch: pytest.MonkeyPatch,
):
    def left_half(problems: list[InverseProblem], *_: Any, **__: Any) -> list[SimpleNamespace]:
        half = torch.arange(8).lt(4)
        return [SimpleNamespace(x_hat=problem.y * half) for problem in problems]

    monkeypatch.setattr("metadip.methods.learned_denoiser.fit", left_half)
    x, denoiser = torch.ones(1, 3, 8, 8), LearnedDenoiser("photo")
    denoiser(x)
    going_on = of_one_reconstruction(denoiser)
    found = [
        method(x, 0.1)[0, 0, 0].tolist() for method in (going_on, going_on, going_on, denoiser)
    ]
    left, right = [1.0] * 4 + [0.0] * 4, [0.0] * 4 + [1.0] * 4
    assert found == [left, right, left, left]


def test_a_prior_that_does_not_see_the_image_is_no_denoiser():
    with pytest.raises(UserError, match=r"denoiser\.ckpt=faces64 writes images from a latent"):
        LearnedDenoiser("faces64")
