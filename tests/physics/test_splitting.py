"""A batch measured by any deepinv operator, cut into one problem per image."""

from typing import Any

import pytest
import torch
from deepinv.physics import (
    Blur,
    CompressedSensing,
    Denoising,
    GaussianNoise,
    Inpainting,
    LinearPhysics,
    Physics,
    PoissonNoise,
    SpatialUnwrapping,
    Upsampling,
)
from deepinv.utils import TensorList
from torch import Tensor

from metadip.methods import image_shape_of
from metadip.physics.splitting import Flattened, Measured, OneOfMany, flatten, split
from metadip.types import UserError
from tests.methods.tiny_prediction import tiny_method

SHAPE = (3, 12, 10)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def masks(n: int) -> Tensor:
    return (draw(n, *SHAPE, seed=1) > 0.4).float()


def kernels(n: int) -> Tensor:
    weights = draw(n, 1, 3, 3, seed=2)
    return weights / weights.sum(dim=(-1, -2), keepdim=True)


PER_IMAGE: dict[str, Any] = {
    "masks": lambda rows: Inpainting(SHAPE, mask=masks(4)[rows]),
    "kernels": lambda rows: Blur(kernels(4)[rows], padding="circular"),
    "masks after kernels": lambda rows: (
        Inpainting(SHAPE, mask=masks(4)[rows]) * Blur(kernels(4)[rows], padding="circular")
    ),
}


@pytest.mark.parametrize("name", PER_IMAGE)
@pytest.mark.filterwarnings("ignore:You are composing")
def test_each_image_is_measured_by_its_own_parameters(name: str):
    x = draw(4, *SHAPE)
    together = PER_IMAGE[name](slice(None))
    problems = split(together.A(x), together, seed=7)
    for i, problem in enumerate(problems):
        alone = PER_IMAGE[name](slice(i, i + 1))
        torch.testing.assert_close(problem.physics.A(x[i : i + 1]), alone.A(x[i : i + 1]))
        assert torch.equal(problem.y, together.A(x)[i : i + 1])
        assert (problem.image_shape, problem.seed) == (SHAPE, 7 + i)
        assert not isinstance(problem.physics, OneOfMany)
    first, second = (problem.physics.A(x[:1]) for problem in problems[:2])
    assert not torch.allclose(first, second)


def test_the_operator_itself_is_left_alone():
    physics = Inpainting(SHAPE, mask=masks(4))
    split(physics.A(draw(4, *SHAPE)), physics)
    assert torch.equal(physics.mask, masks(4))


def test_a_batch_with_its_own_masks_is_fitted_as_its_images_alone():
    x, method = draw(3, *SHAPE), tiny_method(seed=5)
    physics = Inpainting(SHAPE, mask=masks(3))
    y = physics.A(x)
    batch = method(y, physics)
    for i in range(3):
        own = Inpainting(SHAPE, mask=masks(3)[i : i + 1])
        (problem,) = split(y[i : i + 1], own, seed=5 + i)
        torch.testing.assert_close(method.reconstruct([problem])[0].x_hat, batch[i : i + 1])


def test_a_shared_operator_stays_one_object_even_if_its_length_is_that_of_the_batch():
    matrix = CompressedSensing(m=4, img_size=SHAPE, rng=torch.Generator().manual_seed(0))
    problems = split(matrix.A(draw(4, *SHAPE)), matrix)
    assert all(problem.physics is matrix for problem in problems)


@pytest.mark.filterwarnings("ignore:You are composing")
def test_rows_that_cannot_be_cut_out_are_measured_in_the_batch():
    """Four measurements of four images: cutting the matrix, too, would spoil it."""
    matrix = CompressedSensing(m=4, img_size=SHAPE, rng=torch.Generator().manual_seed(0))
    physics = matrix * Inpainting(SHAPE, mask=masks(4))
    x = draw(4, *SHAPE)
    problems = split(physics.A(x), physics)
    assert all(isinstance(problem.physics, OneOfMany) for problem in problems)
    for i, problem in enumerate(problems):
        expected = matrix.A(masks(4)[i : i + 1] * x)
        torch.testing.assert_close(problem.physics.A(x), expected)


def test_each_image_keeps_its_own_noise_level():
    sigma = torch.tensor([0.1, 0.2, 0.3])
    for physics in (Denoising(GaussianNoise(sigma)), Inpainting(SHAPE, mask=masks(3))):
        physics.set_noise_model(GaussianNoise(sigma))
        problems = split(physics.A(draw(3, *SHAPE)), physics)
        levels = [float(problem.physics.noise_model.sigma) for problem in problems]
        assert levels == pytest.approx([0.1, 0.2, 0.3])
        assert torch.equal(physics.noise_model.sigma, sigma)


def test_a_measurement_of_several_tensors_becomes_a_vector():
    stacked = Denoising().stack(Blur(kernels(1), padding="valid"))
    x = draw(2, *SHAPE)
    y = stacked.A(x)
    assert isinstance(y, TensorList)
    problems = split(y, stacked)
    first = problems[0]
    assert first.y.shape == (1, 3 * 12 * 10 + 3 * 10 * 8)
    assert first.image_shape == SHAPE
    assert isinstance(first.physics, Flattened)
    assert problems[1].physics is first.physics
    torch.testing.assert_close(first.physics.A(x), torch.cat([p.y for p in problems]))
    assert flatten([torch.ones(2, 3), 1j * torch.ones(2, 1)]).tolist() == [[1, 0] * 3 + [0, 1]] * 2
    x_hat, start = tiny_method(steps=8)(y, stacked), tiny_method(steps=0)(y, stacked)
    misfits = [(flatten(stacked.A(image)) - flatten(y)).norm() for image in (x_hat, start)]
    assert misfits[0] < misfits[1]


def test_operators_made_in_inference_mode_can_be_fitted():
    with torch.inference_mode():
        physics = Inpainting(SHAPE, mask=masks(2))
        y = physics.A(draw(2, *SHAPE))
        x_hat = tiny_method()(y, physics)
    normal = Inpainting(SHAPE, mask=masks(2))
    assert torch.equal(x_hat, tiny_method()(normal.A(draw(2, *SHAPE)), normal))


def test_an_operator_without_a_gradient_of_its_own_and_without_adjoint():
    physics = SpatialUnwrapping(threshold=1.0, mode="round")
    y = physics.A(2 * draw(1, 1, 8, 8))
    assert tiny_method()(y, physics, image_shape=(1, 8, 8)).shape == (1, 1, 8, 8)


def test_the_shape_of_the_image_is_not_that_of_an_enlarged_measurement():
    physics = Upsampling(img_size=(3, 24, 20), factor=2, filter="bilinear", padding="circular")
    assert image_shape_of(physics.A(draw(1, *SHAPE)), physics) == SHAPE


def test_a_shape_that_cannot_be_told_is_asked_for():
    class NoAdjoint(Physics):
        def A(self, x: Tensor, **_: Any) -> Tensor:
            return x.flatten(1)

    class Flat(LinearPhysics):
        def A(self, x: Tensor, **_: Any) -> Tensor:
            return x.flatten(1)

        def A_adjoint(self, y: Tensor, **_: Any) -> Tensor:
            return y

    y = torch.rand(1, 3 * 8 * 8)
    with pytest.raises(ValueError, match="NoAdjoint does not tell the image's shape: pass image_s"):
        image_shape_of(y, NoAdjoint())
    with pytest.raises(ValueError, match=r"Flat gives \(192,\), not an image \(C, H, W\): pass im"):
        tiny_method()(y, Flat())
    assert tiny_method()(y, NoAdjoint(), image_shape=(3, 8, 8)).shape == (1, 3, 8, 8)


def test_noise_models_without_rows_are_shared():
    physics = Denoising(PoissonNoise(0.1))
    problems = split(physics.A(draw(2, *SHAPE)), physics)
    assert problems[0].physics is problems[1].physics is physics


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (torch.full((1, 3, 8, 8), float("nan")), "y has NaN or infinity in 192 of 192 values"),
        (torch.full((1, 3, 8, 8), 200, dtype=torch.uint8), r"y is of torch\.uint8: give floating"),
        (torch.rand(1, 3, 0, 8), r"the image of y has no pixels: \(C, H, W\) is \(3, 0, 8\)"),
        ([torch.rand(1, 2), torch.tensor([[float("inf")]])], "y has NaN or infinity in 1 of 1"),
    ],
)
def test_measurements_that_are_none(y: Measured, text: str):
    with pytest.raises(UserError, match=text):
        split(y, Denoising(), image_shape=None)


def test_images_in_0_to_255_are_told_of(caplog: pytest.LogCaptureFixture):
    split(torch.rand(1, 3, 8, 8), Denoising())
    assert not caplog.messages
    split(255 * torch.ones(1, 3, 8, 8), Denoising())
    assert caplog.messages == ["y reaches 255: images are expected in 0 to 1"]
