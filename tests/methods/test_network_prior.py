"""The structure of a network as a denoiser: it stops at the noise, and goes on step by step."""

import pytest
import torch

from metadip import config, runs
from metadip.fitting import Adam
from metadip.methods import DIPDenoiser, PnPADMM
from metadip.methods.denoisers import of_one_reconstruction
from metadip.metrics import psnr_db
from metadip.priors import Latent, LatentNetwork, SkipUNet
from metadip.tasks import InpaintingTask
from tests.methods.test_denoisers import NOISE_STD, noise, picture


def denoiser_of(steps: int) -> DIPDenoiser:
    network = SkipUNet(8, out_channels=3, channels=[16, 16], skip_channels=[0, 0])
    prior = LatentNetwork(network, Latent(8, size_px=32, n_wavelengths=0))
    return DIPDenoiser(prior, optimizer=Adam(lr=0.01), steps=steps, seed=0)


def test_noise_is_removed_until_only_noise_is_left():
    x = picture(32, 36)
    y = x + noise(x)
    x_hat = denoiser_of(300)(y, NOISE_STD)
    assert psnr_db(x_hat, x).item() > psnr_db(y, x).item() + 2.5
    left = (x_hat - y).square().mean().sqrt().item()
    assert 0.9 * NOISE_STD < left <= NOISE_STD


def test_images_are_independent_and_their_dtype_kept():
    y = torch.rand(2, 1, 16, 20).double()
    denoiser = denoiser_of(3)
    x_hat = denoiser(y, 0.1)
    assert (x_hat.shape, x_hat.dtype) == (y.shape, torch.float64)
    torch.testing.assert_close(denoiser(y[1:], 0.1), x_hat[1:], rtol=0, atol=1e-6)


def test_only_within_a_reconstruction_it_goes_on():
    y, denoiser = picture(16, 16), denoiser_of(10)
    first = denoiser(y, 0.01)
    torch.testing.assert_close(denoiser(y, 0.01), first)
    continued = of_one_reconstruction(denoiser)
    torch.testing.assert_close(continued(y, 0.01), first)
    assert psnr_db(continued(y, 0.01), y).item() > psnr_db(first, y).item() + 0.5
    torch.testing.assert_close(of_one_reconstruction(denoiser)(y, 0.01), first)


def test_it_is_the_prior_of_plug_and_play():
    problem = InpaintingTask(0.5, noise_std=0.0, per_channel=False).measure(picture(24, 24), seed=0)
    method = PnPADMM(denoiser_of(25), strength=0.03, penalty=0.2, iterations=10)
    first, second = (method.reconstruct([problem])[0].x_hat for _ in range(2))
    assert torch.equal(first, second)
    assert problem.x is not None
    assert psnr_db(first, problem.x).item() > psnr_db(problem.y, problem.x).item() + 7


def test_its_settings_are_read():
    words = ["method=pnp_admm", "denoiser=dip", "optimizer.lr=1e-4", "denoiser.steps=3"]
    network = ["prior.network.channels=[4]", "prior.network.skip_channels=[0]"]
    method = runs.build_method(config.compose("infer", [*words, *network]))
    built = method.denoiser  # type: ignore[attr-defined]
    assert (built.steps, built.optimizer.lr) == (3, 1e-4)


def test_a_call_takes_a_step_at_least():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        denoiser_of(0)
