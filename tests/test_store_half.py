"""A prior whose large weights are stored as float16."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

import metadip
from metadip.checkpoint import load_prior
from tests.tiny import save_tiny_prior


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, repo: Path) -> ModuleType:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    return importlib.import_module("store_half")


def test_large_weights_are_rounded_and_the_others_kept(script: ModuleType, tmp_path: Path):
    given = save_tiny_prior(tmp_path / "tiny.safetensors")
    out = tmp_path / "half.safetensors"
    assert script.main(["--prior", str(given), "--out", str(out)]) == 0
    before, after = load_file(given), load_file(out)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        large = name.startswith("prior.") and tensor.numel() >= script.LEAST
        wanted = tensor.half() if large else tensor
        assert torch.equal(after[name], wanted), name
    assert {tensor.dtype for tensor in after.values()} == {torch.float16, torch.float32}
    assert out.stat().st_size < given.stat().st_size
    for tensor in load_prior(out).prior.state_dict().values():
        assert tensor.dtype == torch.float32


@pytest.mark.parametrize("name", ["natural64", "photo"])
def test_released_priors_are_stored_so(name: str, script: ModuleType, tmp_path: Path):
    out = tmp_path / "again.safetensors"
    assert script.main(["--prior", name, "--out", str(out)]) == 0
    released = load_file(Path(metadip.__file__).parent / "released" / f"{name}.safetensors")
    again = load_file(out)
    assert all(torch.equal(again[key].float(), tensor.float()) for key, tensor in released.items())
    sizes = {key: tensor.dtype for key, tensor in released.items() if "denoiser." not in key}
    assert all(again[key].dtype == dtype for key, dtype in sizes.items())


def test_a_weight_beyond_float16_is_refused(
    script: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    given = save_tiny_prior(tmp_path / "tiny.safetensors")
    words = ["--prior", str(given), "--out", str(tmp_path / "half.safetensors")]
    large = load_prior(given)
    with torch.no_grad():
        next(p for p in large.prior.parameters() if p.numel() >= script.LEAST).fill_(1e6)
    monkeypatch.setattr(script, "load_prior", lambda _: large)
    assert script.main(words) == 2
    error = capsys.readouterr().err
    assert error.endswith("is too large for float16\n")
    assert error.count("\n") == 1
    assert not (tmp_path / "half.safetensors").exists()
