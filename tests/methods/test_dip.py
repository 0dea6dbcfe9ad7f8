"""Vanilla DIP as a class: its arguments, and the presets whose defaults it shares."""

from typing import Any

import pytest
import torch
from deepinv.physics import Denoising
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import metadip
from metadip import config
from metadip.callbacks import ESEMV, BestIterate, DiscrepancyPrinciple, LatentJitter, OutputEMA
from metadip.fitting import Adam, Execution
from metadip.priors import Latent, LatentNetwork, SkipUNet
from metadip.types import UserError


def tiny() -> LatentNetwork:
    network = SkipUNet(4, out_channels=3, channels=[4, 4], skip_channels=[2, 2])
    return LatentNetwork(network, Latent(4, size_px=16, n_wavelengths=0))


def test_defaults_are_those_of_infer():
    dip, cfg = metadip.DIP(), config.compose("infer", ["method=dip"])
    assert sum(p.numel() for p in dip.prior.parameters() if p.requires_grad) == 2_217_831
    assert dip.prior.description == config.build(cfg.prior).description
    assert (dip.steps, dip.seed, dip.rescale) == (cfg.method.steps, cfg.seed, False)
    assert isinstance(dip.optimizer, Adam)
    assert dip.optimizer.description == config.build(cfg.optimizer).description
    assert dip.objective.description == config.build(cfg.objective).description  # type: ignore[attr-defined]
    jitter, ema = dip.callbacks
    assert isinstance(jitter, LatentJitter)
    assert isinstance(ema, OutputEMA)
    assert jitter.std == pytest.approx(cfg.callbacks.jitter.std, rel=1e-5)
    assert (ema.decay, ema.bias_correction) == (cfg.callbacks.ema.decay, True)


def test_each_argument_says_how_to_fit():
    dip = metadip.DIP(tiny(), lr=0.002, steps=7, jitter=0.0, averaging=0.5, seed=3)
    assert isinstance(dip.optimizer, Adam)
    assert (dip.optimizer.lr, dip.steps, dip.seed) == (0.002, 7, 3)
    (ema,) = dip.callbacks
    assert ema.decay == 0.5
    assert metadip.DIP(tiny(), jitter=0.0, averaging=0.0).callbacks == []
    assert metadip.DIP(tiny(), execution=Execution(precision="bf16")).execution.precision == "bf16"
    small = metadip.DIP("skip_unet_small")
    assert small.prior.description["latent"]["n_wavelengths"] > 0


@pytest.mark.parametrize(
    ("stopping", "kind"),
    [
        ("es_emv", ESEMV),
        ("discrepancy", DiscrepancyPrinciple),
        (BestIterate(min_improvement=0.0), BestIterate),
    ],
)
def test_a_stopping_rule_takes_the_place_of_averaging(stopping: Any, kind: type[Any]):
    jitter, rule = metadip.DIP(tiny(), stopping=stopping).callbacks
    assert isinstance(jitter, LatentJitter)
    assert isinstance(rule, kind)
    both = metadip.DIP(tiny(), stopping=stopping, averaging=0.9, jitter=0.0).callbacks
    assert [type(hook) for hook in both] == [OutputEMA, kind]


def test_images_depend_on_the_seed_alone():
    y = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    one, again, other = (metadip.DIP(tiny(), steps=3, seed=s)(y, Denoising()) for s in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"network": "skip_unet_smal"}, UserError, "did you mean 'skip_unet_small'"),
        ({"stopping": "es_emw"}, UserError, "did you mean 'es_emv'"),
        ({"network": tiny(), "averaging": 2.0}, ValueError, "decay must be in"),
        ({"network": tiny(), "jitter": -1.0}, ValueError, "std must be finite and at least 0"),
        ({"network": tiny(), "lr": 0.0}, ValueError, "bad Adam arguments: lr 0.0"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], error: type[Exception], text: str):
    with pytest.raises(error, match=text):
        metadip.DIP(**options)


def test_a_program_that_uses_hydra_itself_is_not_disturbed(repo):
    with initialize_config_dir(version_base="1.3", config_dir=str(repo / "conf")):
        metadip.DIP("skip_unet_small", stopping="es_wmv")
        assert GlobalHydra.instance().is_initialized()
        assert compose("infer").seed == 0
    with pytest.raises(UserError):
        metadip.DIP("nothing")
    assert not GlobalHydra.instance().is_initialized()
