"""Blur kernels: sums, sides, widths, seeds."""

import math

import pytest
import torch
from torch import Tensor

from metadip.physics.kernels import disk_kernel, gaussian_kernel, motion_kernel

KERNELS = {
    "gaussian": gaussian_kernel(1.7),
    "disk": disk_kernel(6.4),
    "motion": motion_kernel(15, seed=1),
}


def spread(kernel: Tensor) -> float:
    """Return the variance of a kernel along its columns."""
    position = torch.arange(kernel.shape[1]).float() - kernel.shape[1] // 2
    return float((kernel.sum(0) * position.square()).sum())


@pytest.mark.parametrize("name", KERNELS)
def test_sides_are_odd_and_the_sum_is_1(name: str) -> None:
    kernel = KERNELS[name]
    assert kernel.sum().item() == pytest.approx(1, abs=1e-6)
    assert kernel.min() >= 0
    assert all(side % 2 for side in kernel.shape)
    assert (kernel > 0).sum() > 5


def test_widths() -> None:
    assert spread(gaussian_kernel(2.0)) ** 0.5 == pytest.approx(2.0, rel=0.03)
    assert gaussian_kernel(5.0).shape == (31, 31)
    assert gaussian_kernel(0.05).max() > 0.999
    assert spread(disk_kernel(9.0)) == pytest.approx(4.5**2 / 4, rel=0.02)  # r^2 / 4 of a disk
    assert (disk_kernel(9.0) == disk_kernel(9.0).max()).sum() >= math.pi * 4.5**2 - 4.5 * 2 * 4
    assert disk_kernel(1.0).tolist() == [[1.0]]
    assert motion_kernel(9, seed=0).shape == (9, 9)


def test_motion_depends_on_its_seed_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (motion_kernel(15, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(torch.get_rng_state(), before)
