"""What is composed: the same as Hydra makes of all settings at once."""

from collections.abc import Sequence

import pytest
from omegaconf import OmegaConf

from metadip import composing
from metadip.types import UserError


def by_hydra(name: str, overrides: Sequence[str]) -> object:
    """Compose all of it at once, without what was composed before."""
    composing._of_choices.cache_clear()
    cfg = composing._of_choices(name, tuple(overrides), composing.conf_dir())
    return OmegaConf.to_container(cfg)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("infer", ["task=cs", "task.ratio=0.1", "seed=3", "out='a b'"]),
        ("infer", ["fit.steps=2", "method=dip", "prior=deep_decoder", "prior.width=8"]),
        ("infer", ["method=dip", "callbacks.ema.decay=0.5", "~callbacks.jitter", "+input=x"]),
        (
            "infer",
            ["callbacks=[dip,es_wmv]", "callbacks.es_wmv.window=5", "fit={steps: 5, stacked: 1}"],
        ),
        ("train", ["task@val_task=cs", "val_task.ratio=[0.1,0.2]", "optimizer.names=[a,b]"]),
        ("train", ["experiment=photo", "task.tasks.sr.factor=4", "outer.weight_lr=1"]),
        ("benchmark", ["table=mri", "table.methods.dip.settings=['seed=1']", "count=1"]),
        ("benchmark", ["images=null", "out=${faces}/x"]),
    ],
)
def test_values_set_afterwards_give_what_hydra_gives(name: str, overrides: list[str]):
    expected = by_hydra(name, overrides)
    assert isinstance(expected, dict)
    choices = expected.pop("hydra")["runtime"]["choices"]
    for _ in range(2):  # also from what was composed before
        found = OmegaConf.to_container(composing.composed(name, overrides))
        assert isinstance(found, dict)
        told = found.pop("choices")
        assert told == {k: v for k, v in choices.items() if not k.startswith("hydra/")}
        assert found == expected


def test_what_was_composed_before_is_not_changed():
    one = composing.composed("infer", ["seed=1"])
    one.task.noise_std = 0.7
    other = composing.composed("infer", ["seed=2"])
    assert (one.seed, other.seed, other.task.noise_std == 0.7) == (1, 2, False)


def test_an_unknown_value_is_told_as_if_all_was_composed():
    with pytest.raises(UserError, match=r"unknown setting 'task.ratoi', did you mean 'task.ratio'"):
        composing.composed("infer", ["task=cs", "task.ratoi=1"])


@pytest.mark.parametrize("override", ["hydra=5", "hydra={}", "++hydra.mode=RUN", "~hydra"])
def test_hydra_itself_has_no_settings_here(override: str):
    with pytest.raises(UserError, match=r"unknown setting 'hydra[.\w]*' \(--help lists them\)"):
        composing.composed("infer", [override])
