"""From a denoiser to an informed prior to a reconstruction, as a user calls it."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import train as train_script
from metadip import command_line
from metadip.checkpoint import load_prior
from metadip.priors import InformedNetwork
from tests.tiny import COMMON, infer

QUIET = [
    "data=sample", "image_size=16", "data.loader.epoch_size=2", "data.loader.val_size=1",
    "learner=functional", "learner.multi_step_from=0", "learner.log_error=true", "objective=mse",
    "prior.network.channels=[4,6]", "trainer.max_steps=2", "trainer.enable_progress_bar=false",
    "val_steps=[0]", *COMMON,
]  # fmt: skip
DENOISER = ["prior=residual_unet", "learner.inner_steps=0", "optimizer.n_steps=1"]
INFORMED = [
    "prior=informed", "learner.inner_steps=3", "learner.log_floor=1e-5", "optimizer.names=[]",
    "optimizer.per_tensor=false", "outer.latent_lr=0.01", "outer.step_size_lr=0.0",
    "learner.functional.keep_graphs=true", "task=mixture", "task.grey=0.5", "task@val_task=mixture",
    "task.tasks.cs.ratio=[0.1,0.5]",
]  # fmt: skip


def train(*settings: object) -> int:
    return command_line.main("train", train_script.run, [*QUIET, *map(str, settings)])


def test_a_denoiser_becomes_an_informed_prior_that_restores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert train(*DENOISER, f"out={tmp_path / 'denoiser'}") == 0
    start = tmp_path / "denoiser" / "prior.safetensors"
    assert train(*INFORMED, f"start={start}", f"out={tmp_path / 'informed'}") == 0
    ckpt = tmp_path / "informed" / "prior.safetensors"
    made, began = load_prior(ckpt), load_prior(start).prior
    assert isinstance(made.prior, InformedNetwork)
    assert made.optimizer.names == ()
    assert made.prior.log_eta.shape == (3,)
    assert bool(made.prior.log_eta.any())
    moved = made.prior.weights["network.down.0.weight"] - began.weights["network.down.0.weight"]
    assert 0 < moved.abs().max() < 0.1
    picture = tmp_path / "picture.png"
    Image.fromarray(torch.randint(0, 255, (20, 30, 3), dtype=torch.uint8).numpy()).save(picture)
    for task in ("denoise", "cpr", "sr"):
        extra = ["task.factor=2"] if task == "sr" else []
        out = tmp_path / task
        metrics = infer(
            f"ckpt={ckpt}", f"task={task}", "task.noise_std=0.05", *extra, f"input={picture}",
            f"out={out}", "fit.steps=2",
        )  # fmt: skip
        assert json.dumps(metrics).count("nan") == 0
        assert (out / "reconstruction.png").is_file()
    wide = ["prior.network.channels=[5,6]", f"out={tmp_path / 'wide'}"]
    assert train(*INFORMED, f"start={start}", *wide) == 2
    assert "prior.network.channels" in capsys.readouterr().err
