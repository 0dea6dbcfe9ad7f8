"""The DIP family as a deepinv model."""

from typing import Any

import pytest
import torch
from deepinv.physics import Blur, Denoising, Downsampling, Inpainting

from metadip.callbacks import FitCallback, LatentJitter, OutputEMA
from metadip.fitting import Adam, ByGroup, Execution
from metadip.methods import image_shape_of
from metadip.physics import GaussianSensing, Magnitude
from metadip.types import FitState, InverseProblem, UserError
from tests.fitting.tiny import noisy, tiny_prior
from tests.methods.tiny_prediction import tiny_method

HOOKS: dict[str, Any] = {"callbacks": [LatentJitter(0.1), OutputEMA(0.5, bias_correction=True)]}


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_batch_equals_its_images_one_by_one(channels: int):
    y = torch.rand(2, channels, 32, 37, generator=torch.Generator().manual_seed(0))
    method = tiny_method(prior=tiny_prior(channels=channels, learned=False), seed=5)
    x_hat = method(y, Denoising())
    assert x_hat.shape == y.shape
    shape = (channels, 32, 37)
    problems = [InverseProblem(y[i : i + 1], Denoising(), shape, seed=5 + i) for i in (0, 1)]
    results = method.reconstruct(problems)
    assert torch.equal(x_hat, torch.cat([result.x_hat for result in results]))
    assert results[1].curves["loss"].shape == (4,)
    assert (x_hat[0] - x_hat[1]).abs().max() > 1e-3


def test_the_same_call_gives_the_same_images_and_other_seeds_give_others():
    y = torch.rand(1, 3, 16, 16)
    method = tiny_method(**HOOKS)
    state = torch.get_rng_state()
    first = method(y, Denoising())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(method(y, Denoising()), first)
    assert not torch.equal(tiny_method(seed=1, **HOOKS)(y, Denoising()), first)
    with torch.no_grad():
        assert torch.equal(method(y, Denoising()), first)


class Count(FitCallback):
    """Return the number of steps seen as the image."""

    def __init__(self) -> None:
        self.steps = 0

    def on_step_end(self, state: FitState) -> None:
        self.steps += 1

    def on_reconstruction_end(self, state: FitState) -> None:
        state.output.fill_(self.steps)


def test_callbacks_work_and_are_copied_for_every_call():
    y, count = torch.rand(1, 3, 16, 16), Count()
    method = tiny_method(callbacks=[count])
    for _ in range(2):
        assert torch.equal(method(y, Denoising()), torch.full_like(y, 4))
    assert count.steps == 0


KERNEL = torch.outer(*2 * [torch.tensor([0.25, 0.5, 0.25])])[None, None]
OPERATORS: dict[str, Any] = {
    "denoising": Denoising,
    "inpainting": lambda: Inpainting((3, 32, 37), mask=0.5),
    "blur": lambda: Blur(KERNEL, padding="circular"),
    "valid blur": lambda: Blur(KERNEL, padding="valid"),
    "downsampling": lambda: Downsampling(img_size=(3, 32, 36), factor=2, filter="bilinear"),
    "compressive": lambda: GaussianSensing((3, 32, 37), n_measurements=9, seed=0, max_bytes=10**7),
    "phase": lambda: Magnitude(
        GaussianSensing((3, 32, 37), n_measurements=9, seed=0, max_bytes=10**7)
    ),
}


def test_an_image_of_one_pixel():
    y = torch.full((1, 3, 1, 1), 0.5)
    assert tiny_method(steps=2)(y, Denoising()).shape == y.shape


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_deepinv_and_of_metadip(name: str):
    physics = OPERATORS[name]()
    shape = (3, 32, 36) if name == "downsampling" else (3, 32, 37)
    y = physics.A(torch.rand(2, *shape, generator=torch.Generator().manual_seed(1)))
    assert image_shape_of(y, physics) == shape
    method = tiny_method(steps=8)
    x_hat = method(y, physics)
    assert x_hat.shape == (2, *shape)
    start = tiny_method(steps=0)(y, physics)
    assert (physics.A(x_hat) - y).norm() < (physics.A(start) - y).norm()


def test_options_reach_the_fit():
    y = torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match="steps must be at least 0, got -1"):
        tiny_method(steps=-1)(y, Denoising())
    low = tiny_method(execution=Execution(precision="bf16"))(y, Denoising())
    assert not torch.equal(low, tiny_method()(y, Denoising()))
    stacked = tiny_method(execution=Execution(stacked=True))
    results = stacked.reconstruct([noisy(0), noisy(1)])
    assert results[0].seconds == results[1].seconds  # a batch shares its time


def test_a_rule_that_does_not_fit_the_prior_is_refused_before_the_fit():
    method = tiny_method()
    method.check(noisy(0), task="task=denoise")
    method.optimizer = ByGroup({"kernel.*": Adam(lr=0.1)})
    text = r"the optimizer does not suit the prior: group 'kernel\.\*' matches nothing"
    with pytest.raises(UserError, match=text):
        method.check(noisy(0), task="task=denoise")


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 1)])
def test_the_smallest_images(size: tuple[int, int]):
    y = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    x_hat = tiny_method(rescale=True)(y, Denoising())
    assert x_hat.shape == y.shape
    assert x_hat.isfinite().all()
