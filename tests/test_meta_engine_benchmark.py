"""The benchmark of meta-training at tiny sizes: line of JSON, memory."""

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from PIL import Image


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, repo: Path) -> ModuleType:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    return importlib.import_module("meta_engine")


MEMORY = {"learn2learn": {3: 50.0, 6: 100.0}, "functional": {3: 10.0, 6: 20.0}, "stored": {3: 55.0}}


@pytest.mark.slow
def test_meta_engine_ends_with_a_line_of_json(script, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "memory_curves", lambda _: MEMORY)
    script.main(["--quick", "--threads", "1", "--json", "--picture", str(tmp_path / "memory.png")])
    content = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < content["grad_rel_diff_float64"] < 1e-9
    assert 0 <= content["grad_rel_diff_float64_stored"] < 1e-9
    assert content["memory_ratio_k3"] == 0.2
    assert content["memory_ratio_k3_stored"] == 1.1
    assert content["memory_k6_over_learn2learn_k3"] == 0.4
    assert content["time_ratio_k3"] > 0
    assert content["time_ratio_k3_stored"] > 0
    assert -1 <= content["grad_cosine_bf16_mixed"] < 1  # chaotic: its sign depends on the processor
    assert Image.open(tmp_path / "memory.png").format == "PNG"


def test_memory_is_measured_once_everything_was_called_and_for_growing_lengths(script, monkeypatch):
    done = []

    def build(engine, inner_steps, _options):
        return SimpleNamespace(gradient=lambda: done.append((engine, inner_steps)))

    def peak_bytes(work, device):
        done.append(device)
        work()
        return 3 * 2**19

    monkeypatch.setattr(script, "build", build)
    monkeypatch.setattr(script, "peak_bytes", peak_bytes)
    cpu = torch.device("cpu")
    options = argparse.Namespace(device="cpu", curve=[4, 2])
    assert script.peaks_mib("functional", options) == {2: 1.5, 4: 1.5}
    assert done == [("functional", 1), cpu, ("functional", 2), cpu, ("functional", 4)]


HOLDING = """
import torch
from peak import peak_bytes

for count in (1, 2, 4):  # of 64 MiB; the first is to have everything called once
    hold = lambda: [torch.ones(2**24) for _ in range(count)].clear()
    print(peak_bytes(hold, torch.device("cpu")) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux")
def test_peak_memory_is_what_is_held_at_once(script, repo):
    settings = {**os.environ, **script.MALLOC, "OMP_NUM_THREADS": "1"}
    output = subprocess.check_output(
        [sys.executable, "-c", HOLDING], cwd=repo / "benchmarks", env=settings, text=True
    )
    _, two, four = map(float, output.split())
    assert two == pytest.approx(128, rel=0.05)
    assert four == pytest.approx(256, rel=0.05)
