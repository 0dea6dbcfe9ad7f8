"""A^T y as a method."""

from typing import Any

import pytest
import torch

from metadip.methods import Adjoint
from metadip.tasks import PhaseRetrievalTask, SuperResolutionTask
from metadip.types import UserError


def test_it_is_the_scaled_adjoint():
    x = torch.rand(1, 1, 16, 16)
    problem = SuperResolutionTask(2, kernel="bicubic", noise_std=0.0).measure(x, seed=0)
    result = Adjoint().reconstruct([problem])[0]
    expected = problem.scale**2 * problem.physics.A_adjoint(problem.y)
    assert torch.equal(result.x_hat, expected)
    assert result.steps == 1


def test_amplitudes_have_none():
    sensing: dict[str, Any] = {"noise_std": 0.0, "operator": "structured", "max_bytes": 2**20}
    x = torch.rand(1, 1, 8, 8)
    problem = PhaseRetrievalTask(1.0, **sensing).measure(x, seed=0)
    with pytest.raises(UserError, match="method=adjoint needs a linear operator, which task=cpr"):
        Adjoint().check(problem, task="task=cpr")
