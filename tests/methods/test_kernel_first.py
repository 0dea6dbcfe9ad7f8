"""Tests of kernels from strong edges: each update, what is found, and the image that follows."""

from typing import Any

import pytest
import torch
from torch import Tensor

from metadip.fitting import Adam, Sum, mse
from metadip.methods import KernelFirst, Wiener, kernel_first_then_fit
from metadip.methods.sharp_edges import (
    _divergence,
    _gradients,
    _large_parts,
    _solved,
    _towards,
    kernels,
)
from metadip.metrics import psnr_db
from metadip.physics.kernel_blur import convolve
from metadip.physics.noise_level import estimated_noise_std
from metadip.physics.shifts import similarity
from metadip.priors import Latent, LatentNetwork, SkipUNet
from metadip.tasks import BlindDeblurringTask, DenoisingTask
from metadip.types import InverseProblem, UserError


def scene(channels: int = 1) -> Tensor:
    """Return an image of a few flat pieces."""
    x = torch.full((1, channels, 72, 80), 0.2)
    x[..., 8:30, 10:40], x[..., 40:64, 22:50] = 0.9, 0.6
    x[..., 20:50, 55:66], x[..., 50:62, 6:16] = 1.0, 0.0
    return x


def blurred(channels: int = 1, noise_std: float = 0.01) -> InverseProblem:
    task = BlindDeblurringTask(
        "motion", kernel_px=9, kernel_seed=None, noise_std=noise_std, known=False
    )
    return task.measure(scene(channels), seed=2)


def method(kernel_px: int | None = 9, rounds: int = 6) -> KernelFirst:
    then = Wiener(noise="estimated", signal="natural", noise_factor=2.0)
    return KernelFirst(then, kernel_px=kernel_px, rounds=rounds)


def rows(*size: int) -> Tensor:
    return torch.randn(1, 1, *size, dtype=torch.float64)


def test_adjoints_are_those_of_their_maps():
    x, k = rows(9, 8), rows(3, 3)
    y = rows(7, 6)
    torch.testing.assert_close((convolve(x, k) * y).sum(), (k * _towards(x, y)).sum())
    down, right = rows(8, 8), rows(9, 7)
    forward = sum((a * b).sum() for a, b in zip(_gradients(x), (down, right), strict=True))
    torch.testing.assert_close(forward, (x * _divergence(down, right)).sum())


def test_conjugate_gradients_end_at_the_solution():
    root = torch.randn(6, 6, dtype=torch.float64)
    matrix, target = root @ root.T + torch.eye(6, dtype=torch.float64), root[:, 0]
    found = _solved(lambda x: matrix @ x, target, torch.zeros_like(target), 6)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, target))
    torch.testing.assert_close(_solved(lambda x: matrix @ x, 0 * target, 0 * target, 3), 0 * target)


def test_small_parts_are_left_out_and_parts_hold_together_by_corners():
    k = torch.zeros(1, 1, 5, 5)
    k[..., 0, 0], k[..., 1, 1], k[..., 4, 4] = 0.5, 0.4, 0.1
    expected = torch.zeros(1, 1, 5, 5)
    expected[..., 0, 0] = expected[..., 1, 1] = 1
    assert torch.equal(_large_parts(k), expected)


@pytest.mark.parametrize("side", [9, 19])
def test_the_kernel_is_found_on_its_own_grid_and_on_a_larger_one(side: int):
    problem = blurred()
    *coarse, k = kernels(problem.y, side=side, noise_std=0.01, rounds=6)
    assert [c.shape[-1] for c in coarse] == {9: [5, 7], 19: [5, 7, 9, 13]}[side]
    assert k.shape == (1, 1, side, side)
    assert k.min() == 0
    torch.testing.assert_close(k.sum(), torch.tensor(1.0))
    found = similarity(k, problem.physics.filter)
    centre = torch.zeros(1, 1, 3, 3)
    centre[..., 1, 1] = 1
    assert found > 0.85
    assert found > similarity(centre, problem.physics.filter) + 0.2


def test_a_picture_without_edges_gives_a_kernel_all_the_same():
    *_, k = kernels(torch.full((1, 1, 20, 20), 0.5), side=5, noise_std=0.0, rounds=2)
    torch.testing.assert_close(k.sum(), torch.tensor(1.0))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_image_follows_and_is_sharper_than_y(channels: int):
    problem = blurred(channels)
    (result,), (again,) = (method().reconstruct([problem]) for _ in range(2))
    assert torch.equal(result.x_hat, again.x_hat)
    assert problem.x is not None
    gain = psnr_db(problem.read(result.x_hat), problem.x) - psnr_db(problem.y, problem.x)
    assert gain > 1.5
    assert result.checks["blind"]["kernel_similarity"] > 0.85
    assert result.estimate is not None
    assert result.estimate.operator["filter"].shape == (1, 1, 9, 9)


def test_a_grid_that_nobody_asked_for_is_told(caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", logger="metadip"):
        method(kernel_px=None, rounds=1).reconstruct([blurred()])
        method(kernel_px=5, rounds=1).reconstruct([blurred()])
    (told,) = caplog.messages
    assert told.startswith("the kernel is sought on a grid of 17 px")


def test_a_fit_is_told_the_kernel():
    network = SkipUNet(4, out_channels=1, channels=[8], skip_channels=[4])
    prior = LatentNetwork(network, Latent(4, size_px=16, n_wavelengths=0))
    fitted = kernel_first_then_fit(
        prior, kernel_px=9, rounds=2, objective=Sum(mse), optimizer=Adam(lr=0.01), steps=3
    )
    problem = blurred()
    (result,) = fitted.reconstruct([problem])
    assert result.steps == 3
    assert result.x_hat.shape == (1, *problem.image_shape)
    *_, k = kernels(problem.y, side=9, noise_std=0.01, rounds=2)
    assert result.checks["blind"]["kernel_similarity"] == pytest.approx(
        similarity(k, problem.physics.filter), abs=0.05
    )


def test_the_method_for_the_image_is_told_kernel_and_noise():
    told: list[InverseProblem] = []

    class Spy(Wiener):
        def reconstruct(self, problems: Any, *, hooks: Any = ()) -> Any:
            told.extend(problems)
            return super().reconstruct(problems, hooks=hooks)

    problem = blurred()
    spy = Spy(noise="known", signal="natural", noise_factor=1.0)
    KernelFirst(spy, kernel_px=9, rounds=2).reconstruct([problem])
    (wide,) = told
    noise_std = float(estimated_noise_std(problem.y))
    *_, k = kernels(problem.y, side=9, noise_std=noise_std, rounds=2)
    assert torch.equal(wide.physics.filter, k)
    assert wide.physics.noise_model is problem.physics.noise_model
    assert wide.image_shape == (1, problem.y.shape[-2] + 8, problem.y.shape[-1] + 8)


def test_forward_takes_the_seed_of_the_fit():
    network = SkipUNet(4, out_channels=1, channels=[8], skip_channels=[4])
    prior = LatentNetwork(network, Latent(4, size_px=16, n_wavelengths=0))
    problem = blurred()
    x_hat = [
        kernel_first_then_fit(
            prior, kernel_px=5, rounds=1, objective=Sum(mse), optimizer=Adam(lr=0.01), steps=1,
            seed=seed,
        )(problem.y, problem.physics, image_shape=problem.image_shape)
        for seed in (0, 0, 7)
    ]  # fmt: skip
    assert torch.equal(x_hat[0], x_hat[1])
    assert not torch.equal(x_hat[0], x_hat[2])


def test_bad_arguments_are_refused_in_one_line():
    with pytest.raises(UserError, match=r"method\.rounds=0 must be at least 1"):
        method(rounds=0)
    with pytest.raises(UserError, match=r"method\.kernel_px=8 must be an odd number of pixels"):
        method(kernel_px=8)
    with pytest.raises(UserError, match="is larger than what was measured"):
        method(kernel_px=75).check(blurred(), task="task=blind_deblur")
    other: Any = DenoisingTask(noise_std=0.1, clip=False).measure(scene(), seed=0)
    with pytest.raises(UserError, match="this method undoes an unknown blur"):
        method().check(other, task="task=denoise")
