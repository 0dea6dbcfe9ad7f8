"""The scripts' own settings have types, all of them, and nothing that a user writes is ignored."""

from typing import Any, get_type_hints

import pytest
from omegaconf import OmegaConf

from metadip import config
from metadip.settings import Fit, Script, Table
from metadip.types import UserError


def keys_of(file: str) -> dict[str, Any]:
    main: Any = OmegaConf.load(config.conf_dir() / f"{file}.yaml")
    return {str(key): value for key, value in main.items() if key != "defaults"}


@pytest.mark.parametrize("name", ["train", "infer", "benchmark"])
def test_every_setting_has_a_type(name: str):
    keys = keys_of(name)
    assert set(keys) - {"fit"} <= set(get_type_hints(Script))
    assert set(keys.get("fit", {})) in (set(), set(get_type_hints(Fit)))
    config.check_settings(config.compose(name, ["data=sample"] if name == "train" else []))


@pytest.mark.parametrize("path", sorted((config.conf_dir() / "table").glob("*.yaml")))
def test_tables_have_what_is_checked(path: Any):
    cfg = config.compose("benchmark", [f"table={path.stem}"])
    config.check_settings(cfg)
    of_some = {"steps", "channels", "skips", "rates", "precision"}
    assert set(cfg.table) | of_some == set(get_type_hints(Table))


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("train", "experiment=nosuch", "experiment=nosuch is unknown (choices: denoiser64, "),
        ("train", "stability.guard=5", "stability.guard=5 names no _target_ (~stability.guard re"),
        ("train", "val_steps=5", "val_steps=5 must be a list [...] of: a whole number"),
        ("train", "out=5", "out=5 must be text"),
        ("infer", "++x=1", "unknown setting 'x'"),
        ("infer", "out=null", "out=null must be text"),
        ("infer", "threads=1000000000", "threads=1000000000 must be a whole number of at least 1"),
        ("infer", "image_size=100000000", "image_size=100000000 must be a whole number of at"),
        ("infer", "callbacks=[{a: 1}]", "callbacks=[{a: 1}]: callbacks is the name of one of its"),
        ("infer", "method=null", "method=null: method is the name of one of its files"),
        ("infer", "~method", "~method: method is needed, give it a value instead"),
        ("infer", "~input", "~input: input is needed, give it a value instead"),
        ("infer", "--input", "--input: settings are written without dashes, input=VALUE"),
        ("infer", "input=a\nb", "'input=a\\nb': a setting is one line of readable text"),
        ("infer", "input=\udcff", "'input=\\udcff': a setting is one line of readable text"),
        ("infer", "task.noise_std=nan", "task.noise_std=nan must be a number or a list"),
        ("infer", "seed=99999999999999999999", "seed=2**66 or more must be a whole number"),
        ("benchmark", "methods=5", "methods=5 must be a list [...] of: text"),
        ("benchmark", "table.methods=5", "table.methods=5 must be settings by name"),
        ("benchmark", "table.methods.dip=5", "table.methods={'bm3d': {"),
        ("benchmark", "table.methods.dip.settings=[5]", "table.methods.dip.settings=[5] must be a"),
        (
            "benchmark",
            "+table.methods.dip.for_task={nosuch: ['seed=1']}",
            "table.methods.dip.for_task.",
        ),
        ("benchmark", "table.reference=nosuch", "table.reference=nosuch is not one of its methods"),
    ],
)
def test_refused_in_one_line(name: str, change: str, text: str):
    with pytest.raises(UserError) as caught:
        config.compose(name, [change], check=config.check_settings)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "x", "[1]"])
def test_numbers_of_constructors_are_finite(value: str):
    with pytest.raises(UserError, match=r"optimizer\.lr=\S+ must be a number or settings of"):
        config.compose("infer", ["method=dip", f"optimizer.lr={value}"])


def test_a_function_may_be_called_like_its_module():
    """Python 3.12's ``pydoc.locate`` finds the module instead; run this on each supported one."""
    target = {"_target_": "metadip.fitting.rmse"}
    config.check_keys(OmegaConf.create(target), "objective")
    with pytest.raises(UserError, match=r"unknown setting 'objective\.power'"):
        config.check_keys(OmegaConf.create({**target, "power": 1}), "objective")
