"""The solver for deepinv's benchmarks: its model as they call it, and a run by benchopt itself."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import deepinv
import pytest
import torch
from torch.utils.data import DataLoader

from metadip.data import sample_face
from metadip.report import psnr_db, save_image

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks" / "deepinv_bench"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def without_benchopt(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(BaseSolver=object, BaseObjective=object)
    monkeypatch.setitem(sys.modules, "benchopt", library)


@pytest.mark.usefixtures("without_benchopt")
def test_the_model_is_what_a_benchmark_calls():
    solver = load("solvers/metadip_prior").Solver()
    solver.prior, solver.steps = "photo", 1
    solver.set_objective(train_dataset=None, physics=None)
    solver.run(None)
    x = sample_face(32)[None]
    physics = deepinv.physics.Denoising(deepinv.physics.GaussianNoise(25 / 255))
    objective: Any = load("objective").Objective()
    objective.set_data([x[0]], physics)
    results = objective.evaluate_result(**solver.get_result())
    assert results["PSNR"] > psnr_db(physics(x), x).item() + 5
    assert solver.model.device == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    (batch,) = DataLoader(objective.get_objective()["train_dataset"])
    assert batch.shape == (1, 3, 32, 32)
    back = objective.get_one_result()["model"]
    assert torch.equal(back(x, physics), x)


@pytest.mark.slow  # starts a process
def test_benchopt_runs_it_on_local_images(tmp_path: Path):
    pytest.importorskip("benchopt")
    (tmp_path / "local_images").mkdir()
    save_image(tmp_path / "local_images" / "face.png", sample_face(32))
    command = [
        sys.executable, "-m", "benchopt", "run", str(FOLDER), "--no-plot", "--no-html",
        "-d", "local_images[count=1,img_size=32,physics=Denoising]", "-s", "metadip[steps=1]",
        "--output", str(tmp_path / "result"), "--no-cache",
    ]  # fmt: skip
    environment = {**os.environ, "BENCHOPT_DATA_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "metadip[prior=photo,steps=1]:" in done.stdout
    assert "done" in done.stdout
