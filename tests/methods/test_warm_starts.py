"""Starts that rival a meta-learned one: a trained denoiser, and the weights of another image."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from skimage.data import astronaut

import infer as infer_script
from metadip import command_line, config
from metadip.fitting import Adam, Sum, mse
from metadip.methods import FitReconstructor, from_single_image
from metadip.priors import Latent, LatentNetwork, SkipUNet
from metadip.runs import train
from metadip.runs.inference import build_fit
from metadip.tasks import DenoisingTask
from metadip.types import UserError

OBJECTIVE = Sum(mse)


def tiny_prior() -> LatentNetwork:
    network = SkipUNet(8, out_channels=3, channels=[12], skip_channels=[4])
    return LatentNetwork(network, Latent(8, size_px=8, n_wavelengths=0))


def warm(image: Path | None, **change: Any) -> FitReconstructor:
    numbers: dict[str, Any] = {"size_px": 16, "image_steps": 60, "steps": 0, "seed": 3} | change
    return from_single_image(
        tiny_prior(),
        objective=OBJECTIVE,
        optimizer=Adam(lr=0.02, betas=(0.9, 0.999), eps=1e-8, eps_root=0.0),
        image=None if image is None else str(image),
        **numbers,
    )


@pytest.fixture
def face(tmp_path: Path) -> Path:
    file = tmp_path / "face.png"
    Image.fromarray(astronaut()[40:168:8, 160:288:8]).save(file)
    return file


def test_the_start_explains_the_image_it_was_fitted_to(face: Path):
    method = warm(face)
    x = torch.from_numpy(astronaut()[40:168:8, 160:288:8] / 255.0).permute(2, 0, 1)[None].float()
    start = method.reconstruct([DenoisingTask(0.1, clip=False).measure(x, seed=0)])[0].x_hat
    assert (start - x).square().mean() < 0.3 * x.var()
    again = warm(face).reconstruct([DenoisingTask(0.2, clip=False).measure(x, seed=9)])[0].x_hat
    assert torch.equal(start, again)


def test_a_built_in_picture_stands_in_and_untrained_weights_stay(face: Path):
    prior = tiny_prior()
    before = [p.detach().clone() for p in prior.parameters()]
    built_in, own = warm(None), warm(face)
    for method in (built_in, own):
        method.reconstruct([DenoisingTask(0.1, clip=False).measure(torch.rand(1, 3, 8, 8), seed=0)])
    ours, theirs = (list(m.prior.parameters()) for m in (built_in, own))
    assert any(not torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, prior.parameters(), strict=True))


def test_it_can_be_pickled_before_and_after_its_first_fit(face: Path):
    problem = DenoisingTask(0.1, clip=False).measure(torch.rand(1, 3, 8, 8), seed=0)
    method = warm(face, image_steps=3)
    copied = pickle.loads(pickle.dumps(method))
    first = method.reconstruct([problem])[0].x_hat
    again = pickle.loads(pickle.dumps(method))
    assert torch.equal(copied.reconstruct([problem])[0].x_hat, first)
    assert torch.equal(again.reconstruct([problem])[0].x_hat, first)


@pytest.mark.parametrize("name", ["size_px", "image_steps"])
def test_numbers_below_one_are_refused(name: str):
    with pytest.raises(UserError, match=r"must be at least 1"):
        warm(None, **{name: 0})


@pytest.mark.slow
def test_a_denoiser_is_trained_released_and_fitted(tmp_path: Path):
    """The network alone, without any fit, takes noise away after a short training."""
    (tmp_path / "photos").mkdir()
    for i in range(20):  # small files: reading a whole picture for each patch would take longest
        crop = astronaut()[8 * i : 8 * i + 64 : 4, 200:264:4]
        Image.fromarray(crop).save(tmp_path / "photos" / f"{i}.png")
    words = [
        "experiment=denoiser64", "data=folder", f"data.root={tmp_path / 'photos'}",
        "image_size=16", "threads=1", "seed=1",
        "prior.network.channels=[12]", "prior.network.skip_channels=[4]",
        "data.loader.batch_size=4", "data.loader.epoch_size=800", "data.loader.val_size=2",
        "data.loader.num_workers=0", "outer.weight_lr=1e-2", "trainer.max_steps=200",
        "trainer.accelerator=cpu", "trainer.enable_progress_bar=false", f"out={tmp_path / 'run'}",
    ]  # fmt: skip
    ckpt = train(config.compose("train", words))
    method = build_fit(
        config.compose("infer", ["method=supervised", f"method.ckpt={ckpt}", "method.steps=2"])
    )
    x = torch.from_numpy(astronaut()[40:168:4, 160:288:4] / 255.0).permute(2, 0, 1)[None].float()
    problem = DenoisingTask(0.15, clip=False).measure(x, seed=0)
    method.steps = 0
    error = (method.reconstruct([problem])[0].x_hat - x).square().mean()
    assert error < 0.7 * (problem.y - x).square().mean()
    method.steps = 2
    assert method.reconstruct([problem])[0].steps == 2


def test_a_denoiser_does_not_serve_phase_retrieval(
    tmp_path: Path, face: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["method=supervised", "task=cpr", f"input={face}", f"out={tmp_path / 'out'}"]
    assert command_line.main("infer", infer_script.run, words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: task=cpr does not suit the prior: Magnitude has no adjoint")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
