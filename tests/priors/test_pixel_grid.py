"""Fits without a network: pixels follow the data, and nothing else."""

import pytest
import torch
from deepinv.physics import Denoising, Inpainting

from metadip import config
from metadip.priors import PixelGrid
from metadip.runs import build_method
from metadip.types import InverseProblem


def test_the_image_is_the_latent():
    z = torch.rand(2, 4, 5, 6)
    assert torch.equal(PixelGrid(4, out_channels=3)(z), z[:, :3])


@pytest.mark.parametrize(("channels", "image"), [(2, 3), (1, 0)])
def test_channels_that_do_not_fit_are_refused(channels: int, image: int):
    with pytest.raises(ValueError, match="need in_channels >= out_channels >= 1"):
        PixelGrid(channels, out_channels=image)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_without_data_stay_as_drawn(channels: int):
    """The first step of Adam is the step size along the sign of the gradient, which is 0 there."""
    x = 0.5 + 0.5 * torch.rand(1, channels, 12, 10, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 12, 10)
    mask[:, ::2] = 1
    physics = Inpainting((channels, 12, 10), mask=mask)
    problem = InverseProblem(mask * x, physics, (channels, 12, 10))
    shown = {}
    for steps in (0, 1, 400):
        words = ["method=pixels", "task=inpaint", f"fit.steps={steps}"]
        (result,) = build_method(config.compose("infer", words)).reconstruct([problem])
        shown[steps] = result.x_hat
    start, first, last = shown[0], shown[1], shown[400]
    lost = (1 - mask).expand_as(start).bool()
    assert torch.equal(last[lost], start[lost])
    assert 0 <= start.min() <= start.max() <= 0.1
    torch.testing.assert_close(first[~lost], start[~lost] + 0.01)
    torch.testing.assert_close(last[~lost], x[~lost], atol=1e-3, rtol=0)


def test_a_fit_of_pixels_overfits_the_noise():
    y = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    words = ["method=pixels", "task=denoise", "fit.steps=600"]
    problem = InverseProblem(y, Denoising(), (3, 8, 8))
    (result,) = build_method(config.compose("infer", words)).reconstruct([problem])
    torch.testing.assert_close(result.x_hat, y, atol=1e-3, rtol=0)
