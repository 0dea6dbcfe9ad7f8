"""Ratios that each image draws from a range."""

import pytest
import torch
from torch import Tensor

from metadip.types import InverseProblem, UserError
from tests.tasks.test_every_task import cpr, cs, inpaint


@pytest.fixture
def x() -> Tensor:
    return torch.rand((1, 3, 12, 16), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("make", [cs, cpr, inpaint])
def test_range_of_ratios(make, x: Tensor) -> None:
    def measured(ratio: object) -> list[InverseProblem]:
        return [make(0.0, ratio=ratio).measure(x, seed=seed) for seed in range(40)]

    shares = [(p.y != 0).float().sum().item() / x.numel() for p in measured([0.2, 0.6])]
    assert 0.12 < min(shares) < 0.28
    assert 0.52 < max(shares) < 0.68
    assert 0.3 < sum(shares) / 40 < 0.5
    fixed, pair = (measured(ratio)[3].y for ratio in (0.4, [0.4, 0.4]))
    torch.testing.assert_close(fixed, pair, rtol=0, atol=0)
    with pytest.raises(UserError, match=r"task\.ratio=\[0\.6, 0\.2\] must be a number above 0"):
        make(0.0, ratio=[0.6, 0.2])
