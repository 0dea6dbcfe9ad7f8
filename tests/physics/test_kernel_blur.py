"""Blur by a kernel given at each call, and windows of what is known up to a shift."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import Tensor

from metadip.physics.kernel_blur import KernelBlur, fast_side
from metadip.physics.shifts import (
    BestWindow,
    best_offset,
    moved,
    off_centre,
    similarity,
    windowed,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, dtype=torch.float64, generator=generator)


def kernel(height: int, width: int) -> Tensor:
    k = drawn(1, 1, height, width, seed=1)
    return k / k.sum()


@pytest.mark.parametrize("sides", [(1, 1), (3, 5), (7, 7), (11, 13)])
def test_it_is_the_valid_convolution_of_scipy(sides: tuple[int, int]):
    x, k = drawn(2, 3, 17, 13), kernel(*sides)
    y = KernelBlur(k).A(x)
    for image, blurred in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
        expected = convolve2d(image.numpy(), k[0, 0].numpy(), mode="valid")
        np.testing.assert_allclose(blurred.numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sides", [(1, 1), (3, 5), (11, 13)])
def test_adjoint(sides: tuple[int, int]):
    physics = KernelBlur(kernel(*sides))
    x = drawn(2, 3, 17, 13)
    y = physics.A(x)
    v = drawn(*y.shape, seed=2) - 0.5
    gap = (y * v).sum() - (x * physics.A_adjoint(v)).sum()
    assert abs(gap) < 1e-10 * y.norm() * v.norm()


def test_a_given_kernel_counts_each_image_has_its_own_and_none_is_kept():
    stored, given = kernel(3, 3), torch.cat([kernel(5, 5), kernel(5, 5).flip(-1)])
    physics, x = KernelBlur(stored), drawn(2, 2, 12, 12)
    both = physics.A(x, filter=given)
    for row in range(2):
        alone = KernelBlur(given[row : row + 1]).A(x[row : row + 1])
        torch.testing.assert_close(both[row : row + 1], alone)
    assert torch.equal(physics.filter, stored)
    back = physics.A_adjoint(both, filter=given)
    assert abs((both * both).sum() - (x * back).sum()) < 1e-8


def test_a_kernel_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"a kernel of 9 x 3 px does not fit .* 8 x 12 px"):
        KernelBlur(kernel(9, 3)).A(drawn(1, 1, 8, 12))


def test_sides_of_transforms_are_fast_and_large_enough():
    for side in range(1, 300):
        left = fast = fast_side(side)
        for prime in (2, 3, 5):
            while left % prime == 0:
                left //= prime
        assert left == 1
        assert side <= fast < 1.2 * side + 1


def test_the_best_window_is_that_of_a_search_by_hand():
    large, small = drawn(1, 3, 14, 11), drawn(1, 3, 9, 8, seed=3)
    errors = {
        (i, j): float((large[..., i : i + 9, j : j + 8] - small).square().sum())
        for i in range(6)
        for j in range(4)
    }
    assert best_offset(large, small) == min(errors, key=lambda place: errors[place])
    found = BestWindow(9, 8)(large, small)
    torch.testing.assert_close((found - small).square().sum(), torch.tensor(min(errors.values())),
                               check_dtype=False)  # fmt: skip
    assert torch.equal(BestWindow(9, 8)(large, None), large[..., 2:11, 1:9])


def test_the_mass_of_a_kernel_is_centred():
    k = torch.zeros(1, 1, 9, 7, dtype=torch.float64)
    k[..., 6:8, 1] = 0.5
    down, right = off_centre(k)
    assert (down, right) == (2, -2)
    centred = moved(k, -down, -right)
    assert off_centre(centred) == (0, 0)
    assert centred.sum() == 1
    assert torch.equal(moved(centred, down, right), k)
    assert moved(k, 0, -3).sum() == 0  # what leaves is lost


def test_windows_beyond_the_border_repeat_it():
    x = drawn(1, 1, 4, 5)
    torch.testing.assert_close(windowed(x, 1, 2, (2, 3)), x[..., 1:3, 2:5])
    wide = windowed(x, -1, -2, (6, 9))
    padded = torch.nn.functional.pad(x, (2, 2, 1, 1), mode="replicate")
    assert torch.equal(wide, padded)


def test_kernels_are_compared_at_their_best_shift():
    k = torch.zeros(1, 1, 9, 9)
    k[..., 4, 4], k[..., 5, 4], k[..., 4, 6] = 0.5, 0.3, 0.2
    assert similarity(k, moved(k, 2, 1)) == pytest.approx(1)
    assert similarity(k, k[..., 3:8, 3:8]) == pytest.approx(1)
    assert similarity(k, torch.full((1, 1, 5, 5), 1 / 25)) < 0.5
