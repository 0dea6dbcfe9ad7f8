"""A denoiser of another training, given to an informed prior."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from metadip.checkpoint import load_prior, save_prior
from metadip.fitting import MomentumSGD, Sum, fit, mse
from metadip.priors import InformedNetwork, ResidualUNet
from tests.fitting.tiny import SAME, noisy
from tests.tiny import save_tiny_prior


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, repo: Path) -> ModuleType:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    return importlib.import_module("join_denoiser")


def save(path: Path, in_channels: int, seed: int) -> InformedNetwork:
    """Save an informed prior of so many channels; return it."""
    network = ResidualUNet(in_channels, out_channels=3, channels=[4, 6])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    prior = InformedNetwork(network, n_steps=2, iterations=2, smoothness=0.1, learned=True)
    rule = MomentumSGD(lr=0.1, momentum=0.5, n_steps=1, names=())
    parts = nn.ModuleDict({"prior": prior, "inner_optimizer": rule})
    description = {
        "representation": prior.description,
        "optimizer": rule.description,
        "objective": Sum(mse).description,
    }
    save_prior(path, parts.state_dict(), description)
    return prior


def test_the_joined_prior_denoises_by_the_other_network(script: ModuleType, tmp_path: Path):
    whole = save(tmp_path / "whole.safetensors", 13, seed=1)
    part = save(tmp_path / "part.safetensors", 3, seed=2)
    out = tmp_path / "joined.safetensors"
    words = ["--prior", str(tmp_path / "whole.safetensors"), "--out", str(out)]
    assert script.main([*words, "--denoiser", str(tmp_path / "part.safetensors")]) == 0
    joined = load_prior(out)
    (found,) = fit([noisy(1)], joined.prior, joined.objective, joined.optimizer, steps=0)
    wanted = part.network.half().float()(noisy(1).y).detach()
    torch.testing.assert_close(found.x_hat, wanted, **SAME)
    for name, weight in whole.weights.items():
        assert torch.equal(joined.prior.weights[name], weight)
    assert script.main([*words, "--denoiser", str(tmp_path / "part.safetensors")]) == 0


@pytest.mark.parametrize("swapped", [False, True])
def test_other_priors_are_refused_in_one_line(
    swapped: bool, script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    save(tmp_path / "whole.safetensors", 13, seed=1)
    save_tiny_prior(tmp_path / "tiny.safetensors")
    names = ["tiny", "whole"] if swapped else ["whole", "tiny"]
    prior, denoiser = (str(tmp_path / f"{name}.safetensors") for name in names)
    words = ["--prior", prior, "--denoiser", denoiser, "--out", str(tmp_path / "out.safetensors")]
    assert script.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --")
    assert error.count("\n") == 1
    assert not (tmp_path / "out.safetensors").exists()
