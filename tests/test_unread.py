"""Nothing that the user sets is ignored in silence: it changes what is built, or it is refused."""

import re
from functools import cache
from typing import Any

import pytest
from omegaconf import DictConfig

from metadip import composing, config, runs, unread
from metadip.composing import Setting, names_in, settings_of
from metadip.types import UserError

GROUPS = ("prior", "objective", "optimizer", "callbacks", "denoiser", "pnp")
OTHER_VALUES = {  # of keys that no group file gives
    "ckpt": "faces64", "fit.steps": 7, "fit.batch_size": 3, "fit.stacked": True,
    "fit.precision": "bf16", "fit.memory_gb": 2, "fit.backtracking": False,
    "fit.tile_px": 256,
}  # fmt: skip
QUICK = ("metadip", "dip", "pnp_admm")  # one of each kind
METHODS = [
    pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
    for name in names_in("method")
]


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what a run hands to the constructor and to its loader, without building it."""

    def described(node: DictConfig, **extra: Any) -> Any:
        return config.plain(node), extra

    def of(cfg: config.Config) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(config, "build", described)
            built: Any = runs.build_method(cfg)
        node, extra = built
        loader = (cfg.fit.batch_size, cfg.fit.stacked) if "execution" in extra else ()
        return node, extra, loader

    return of


def others(group: str, cfg: config.Config) -> list[str]:
    """Return a choice of a group other than the present one."""
    choices = [name for name in names_in(group) if name not in (cfg.choices[group], "momentum_sgd")]
    return [f"{group}={choices[0]}"] if choices else []


def test_every_key_for_the_method_is_tried():
    cfg = config.compose("infer")
    keys = {"ckpt", *(f"fit.{key}" for key in cfg.fit)}
    assert set(OTHER_VALUES) == keys
    texts = "".join(f.read_text() for f in (config.conf_dir() / "method").glob("*.yaml"))
    referred = set(re.findall(r"\$\{(\w+)", texts)) - {"seed"}  # the run reads the seed, too
    assert referred | {"callbacks"} == {*GROUPS, "ckpt"}
    assert {*GROUPS, "ckpt", "fit"} == set(config.OF_METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_a_setting_counts_or_is_refused(method: str, handed: Any, monkeypatch: pytest.MonkeyPatch):
    without = cache(lambda name, overrides: composing.composed(name, overrides))
    monkeypatch.setattr(unread, "composed", lambda name, others: without(name, tuple(others)))
    usual = config.compose("infer", [f"method={method}"])
    before, read = handed(usual), []
    changes = [change for group in GROUPS for change in others(group, usual)]
    changes += [f"{key}={value}" for key, value in OTHER_VALUES.items()]
    for change in changes:
        try:
            cfg = config.compose("infer", [f"method={method}", change])
        except UserError as error:
            assert str(error).startswith(change)  # noqa: PT017
            continue
        assert handed(cfg) != before, change
        read.append(change.partition("=")[0])
    assert read or "denoiser" in usual.method  # which has one choice, its name


def test_a_rule_counts_where_it_is_read(handed: Any):
    """The other choice of its group is for training alone; its keys stand for it."""
    for method in ("dip", "dip_es", "single_image"):
        one, two = (
            config.compose("infer", [f"method={method}", *more])
            for more in ([], ["optimizer.lr=1"])
        )
        assert handed(one) != handed(two)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (["objective=l1"], "objective=l1 is not read by method=metadip: leave it out, or take"),
        (
            ["optimizer=adam", "optimizer.lr=0.1"],
            "optimizer.lr=0.1 is not read by method=metadip: leave it out, or take method=",
        ),
        (["method=dip", "pnp.strength=0.1"], "pnp.strength=0.1 is not read by method=dip: leave"),
        (["method=dip", "+prior.network={width: 4}"], "unknown setting 'prior.network.width'"),
        (
            ["method=supervised", "optimizer.lr=0.3"],
            "method=supervised, which has method.optimizer.lr=0.001: set method.optimizer.lr=0.3",
        ),
        (["method=supervised", "~optimizer.lr"], "~optimizer.lr is not read by method=supervised"),
        (["method=pnp_admm", "method.strength=1", "method.penalty=1", "method.iterations=1",
          "pnp=cs_bm3d"], "pnp=cs_bm3d is not read by method=pnp_admm"),
        (["method=dip", "fit.steps=5", "method.steps=7"], "method.steps=7 and fit.steps=5: give"),
        (["physics=lab:radon", "task=cs"], "task=cs has no use with physics=lab:radon"),
        (["method.callbacks=[]"], "method.callbacks is now callbacks"),
        (["++x=1"], "unknown setting 'x'"),
        (["++fit.step=1"], "unknown setting 'fit.step', did you mean 'fit.steps'"),
        (["fit=5"], "fit=5 must name one of its settings"),
        (["method=dip", "callbacks.ema=null"], "callbacks.ema=None names no _target_"),
        (["~seed"], "~seed: seed is needed"),
        (["hydra.job.name=x"], "unknown setting 'hydra.job.name'"),
    ],
)  # fmt: skip
def test_what_is_refused(settings: list[str], text: str):
    with pytest.raises(UserError, match=re.escape(text)):
        config.compose("infer", settings)


@pytest.mark.parametrize("script", ["train", "benchmark"])
def test_unknown_additions_are_refused_everywhere(script: str):
    with pytest.raises(UserError, match="unknown setting 'x'"):
        config.compose(script, ["++x=1"])


def test_what_holds_anyway_may_be_said():
    settings = ["method=bm3d", "fit.steps=null", "callbacks=none", "prior=skip_unet"]
    assert config.compose("infer", settings) == config.compose("infer", ["method=bm3d"])
    config.compose("infer", ["physics=lab:radon", "task=denoise"])


def test_shared_settings_are_for_those_that_read_them():
    shared = ["task=cs", "pnp=cs_bm3d"]
    assert config.compose("infer", ["method=dip"], shared=shared).choices.task == "cs"
    tuned = config.compose("infer", ["method=pnp_admm"], shared=shared)
    assert tuned.method.strength == tuned.pnp.strength != config.compose("infer").pnp.strength


def test_former_names_are_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(composing, "RENAMED", {"fit.n": "fit.steps", "task=noise": "task=denoise"})
    for setting, text in (("fit.n=5", "fit.n is now fit.steps"), ("task=noise", "is now task=den")):
        with pytest.raises(UserError, match=text):
            config.compose("infer", [setting])


def test_how_settings_are_read():
    overrides = ["task@val_task=cs", "+a.b={c: 1, d: [2]}", "~callbacks.ema", "gif=true"]
    assert settings_of(overrides) == [
        Setting("val_task", "cs", "task@val_task=cs", False),
        Setting("a.b.c", 1, "a.b={c: 1, d: [2]}", False),
        Setting("a.b.d", [2], "a.b={c: 1, d: [2]}", False),
        Setting("callbacks.ema", None, "~callbacks.ema", True),
        Setting("gif", True, "gif=true", False),
    ]
    with pytest.raises(UserError, match=r"no viable alternative at input '\[1'"):
        settings_of(["a=[1"])
