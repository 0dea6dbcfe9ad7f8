"""Vanilla DIP in one call: what it takes from the presets."""

import pytest
import torch
from deepinv.physics import Denoising
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import metadip
from metadip import config
from metadip.callbacks import ESEMV, LatentJitter, OutputEMA
from metadip.fitting import Adam
from metadip.types import UserError

SMALL = ["prior.network.channels=[4,4]", "prior.network.skip_channels=[2,2]"]


def test_defaults_are_those_of_infer():
    dip, cfg = metadip.DIP(), config.compose("infer", ["method=dip"])
    assert sum(p.numel() for p in dip.prior.network.parameters()) == 2_217_831  # the paper's
    assert (dip.steps, dip.seed, dip.rescale) == (cfg.method.steps, cfg.seed, False)
    assert isinstance(dip.optimizer, Adam)
    assert dip.optimizer.lr == cfg.optimizer.lr
    jitter, ema = dip.callbacks
    assert isinstance(jitter, LatentJitter)
    assert isinstance(ema, OutputEMA)
    assert (jitter.std, ema.decay) == (cfg.callbacks.jitter.std, cfg.callbacks.ema.decay)


def test_it_is_what_infer_would_build():
    chosen = ["method=dip", *SMALL, "seed=3", "method.steps=3"]
    cfg = config.compose("infer", chosen)
    built = config.build(cfg.method)
    built.callbacks = [config.build(node) for node in cfg.callbacks.values()]
    y = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(metadip.DIP(*SMALL, steps=3, seed=3)(y, Denoising()), built(y, Denoising()))


def test_presets_and_overrides():
    dip = metadip.DIP("optimizer.lr=0.002", prior="skip_unet_small", callbacks="es_emv", steps=7)
    assert isinstance(dip.optimizer, Adam)
    assert (dip.optimizer.lr, dip.steps) == (0.002, 7)
    assert any(isinstance(hook, ESEMV) for hook in dip.callbacks)
    assert dip.prior.latent.n_wavelengths > 0


def test_how_to_fit_can_be_set():
    settings = ["fit.steps=5", "fit.precision=bf16", "fit.backtracking=false"]
    dip = metadip.DIP(*SMALL, *settings)
    assert dip.steps == 5
    assert (dip.execution.precision, dip.execution.backtracking) == ("bf16", None)


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ([], {"prior": "skip_unet_smal"}, "did you mean 'skip_unet_small'"),
        (["optimizer.lrr=1"], {}, "unknown setting 'optimizer.lrr'"),
        (["callbacks.ema.decay=2"], {}, "callbacks.ema: decay must be in"),
        ([], {"steps": -1}, "method.steps=-1 must be a whole number of at least 0"),
        (["fit.precision=16"], {}, "fit.precision=16 must be one of"),
    ],
)
def test_mistakes_are_told(arguments: list[str], options: dict[str, str], text: str):
    with pytest.raises(UserError, match=text):
        metadip.DIP(*arguments, **options)  # type: ignore[arg-type]


def test_a_program_that_uses_hydra_itself_is_not_disturbed(repo):
    with initialize_config_dir(version_base="1.3", config_dir=str(repo / "conf")):
        metadip.DIP(*SMALL)
        assert GlobalHydra.instance().is_initialized()
        assert compose("infer").seed == 0
    with pytest.raises(UserError):
        metadip.DIP("nothing=1")
    assert not GlobalHydra.instance().is_initialized()
