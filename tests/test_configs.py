"""Every preset is valid, composes with its script, binds to its constructor, and is explained."""

import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from metadip import config
from metadip.report.benchmark.claims import KINDS
from metadip.types import UserError
from tests.tiny import REPO, save_tiny_prior

CONF = REPO / "conf"
ALL = sorted(CONF.rglob("*.yaml"))
GROUP_FILES = [f for f in ALL if f.parent != CONF and f.parent.name not in ("experiment", "sweep")]
SCRIPTS = ("train", "infer", "benchmark")
TABLE_PARTS = ("image_set", "lineup")  # groups that only tables take
DATA_PARTS = ("loader",)  # groups that only data sets take
TABLES = ("table", "lineup")  # lists of cases: what their lines mean is told at the top
OTHERS = {  # presets that differ from the default on purpose
    ("method/refined", "add_noise"),
    ("method/metasiren", "ckpt"),  # another prior
    ("callbacks/far_field", "inputs"),  # two latents
    ("callbacks/far_field_discrepancy", "inputs"),
    ("callbacks/far_field", "magnitude"),  # a complex object
}
NEEDED = {  # what a choice asks the user for
    ("data", "folder"): ["data.root=photos"],
    ("method", "edip"): ["method.ckpt=prior.safetensors"],
    ("method", "dip_flash"): ["prior.latent.file=flash.png"],
    ("prior", "guided"): ["prior.latent.file=flash.png", "method=dip"],
}
# Arguments that the program hands over, by constructor.
PROGRAM_ARGUMENTS = {
    "metadip.data.ellipses_data": {"task", "seed"},
    "metadip.data.celeba_data": {"task", "seed"},
    "metadip.data.folder_data": {"task", "seed"},
    "metadip.data.mixture_data": {"task", "seed"},
    "metadip.data.natural_data": {"task", "seed"},
    "metadip.data.sample_data": {"task", "seed"},
    "metadip.data.CelebA": {"split", "seed"},
    "metadip.data.NaturalPatches": {"split", "seed"},
    "metadip.meta.inner_optimizer": {"prior"},
}
KEY = re.compile(r"^\s*(?:- )?(?P<key>[\w@/.]+(?: /?[\w.@/]+)?):(?P<value>[^#]*)(?P<comment>#.*)?$")


def name_of(file: Path) -> str:
    return file.relative_to(CONF).with_suffix("").as_posix()


def groups_of(script: str) -> list[str]:
    """Return the groups that a script's main file takes."""
    defaults = OmegaConf.load(CONF / f"{script}.yaml").defaults
    keys = [str(key) for item in defaults if item != "_self_" for key in item]
    return [key.removeprefix("optional ") for key in keys]


CHOICES = [
    (script, group, file.stem)
    for script in SCRIPTS
    for group in groups_of(script)
    for file in sorted((CONF / group.partition("@")[0]).glob("*.yaml"))
]


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping below ``tree`` that names a constructor."""
    if isinstance(tree, dict):
        if "_target_" in tree:
            yield tree
        for value in tree.values():
            yield from nodes(value)


def constructor_of(node: dict[str, Any]) -> Any:
    module, _, name = node["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def read(file: Path) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.load(file), resolve=False)  # type: ignore[return-value]


def included(node: dict[str, Any]) -> set[str]:
    """Return the keys of a file that files of other groups fill."""
    items = [item for item in node.get("defaults", []) if isinstance(item, dict)]
    return {str(key).rpartition("@")[2] for item in items for key in item}


@pytest.mark.parametrize("file", ALL, ids=name_of)
def test_every_file_is_yaml_and_opens_with_a_comment(file: Path):
    assert isinstance(read(file), dict)
    assert file.read_text("utf-8").startswith("# ")


def test_every_group_belongs_to_a_script():
    used = {group.partition("@")[0] for script in SCRIPTS for group in groups_of(script)}
    assert {f.parent.name for f in ALL if f.parent != CONF} == used | {
        "sweep",
        *TABLE_PARTS,
        *DATA_PARTS,
    }


SHARED = {(group, choice) for script, group, choice in CHOICES if script == "infer"}


@pytest.mark.parametrize(
    ("script", "group", "choice"),
    [  # those of both scripts with infer.py, unless all is wanted
        pytest.param(
            script, group, choice,
            marks=pytest.mark.slow
            if script == "train" and (group.partition("@")[0], choice) in SHARED
            else (),
        )
        for script, group, choice in CHOICES
    ],
)  # fmt: skip
def test_every_choice_composes(script: str, group: str, choice: str):
    shared = [f"{group}={choice}"]  # read by some method, not by the default one
    cfg = config.compose(script, NEEDED.get((group, choice), []), shared=shared)
    assert cfg.choices[group] == choice


@pytest.mark.parametrize("file", GROUP_FILES, ids=name_of)
def test_keys_are_the_arguments_in_order(file: Path):
    for node in nodes(read(file)):
        keys = [key for key in node if key not in config.SPECIAL_KEYS and key != "defaults"]
        parameters = inspect.signature(constructor_of(node)).parameters
        needed = {name for name, p in parameters.items() if p.default is p.empty}
        in_table = file.parent.name in TABLE_PARTS
        given = set() if in_table else PROGRAM_ARGUMENTS.get(node["_target_"], set())
        if node.get("_partial_"):
            given = given | ({"look"} & set(parameters))  # a term of an objective
        needed = {n for n in needed if parameters[n].kind not in (2, 4)} - given
        assert set(keys) <= set(parameters) - given
        assert needed <= {*keys, *included(node)}
        if node["_target_"].startswith("metadip."):
            assert keys == [name for name in parameters if name in keys]
        assert [k for k in node if k != "defaults"][:2] == ["_target_", "_convert_"]
        assert node["_convert_"] == "all"


@pytest.mark.parametrize("file", [f for f in GROUP_FILES if f.parent.name != "prior"], ids=name_of)
def test_a_default_in_python_equals_the_preset(file: Path):
    for node in nodes(read(file)):
        parameters = inspect.signature(constructor_of(node)).parameters
        if node["_target_"].startswith("metadip."):
            for key, value in node.items():
                if isinstance(value, dict):  # its own nodes are looked at in turn
                    continue
                default = parameters[key].default if key in parameters else inspect.Parameter.empty
                interpolated = isinstance(value, str) and value.startswith("${")
                same = (list(default) if isinstance(default, tuple) else default) == value
                named = (name_of(file), key) in OTHERS
                assert default is inspect.Parameter.empty or interpolated or same or named, key


@pytest.mark.parametrize(
    "file", [*GROUP_FILES, *(CONF / f"{s}.yaml" for s in SCRIPTS)], ids=name_of
)
def test_every_key_is_explained(file: Path):
    lines = file.read_text("utf-8").splitlines()
    silent = []
    for before, line in zip(["", *lines], lines, strict=False):
        found = KEY.match(line)
        if found is None or line.lstrip().startswith("#"):
            continue
        if file.parent.name in TABLES and line.startswith(" "):
            continue
        section = not found["value"].strip()
        if found["key"] in config.SPECIAL_KEYS or section or before.lstrip().startswith("#"):
            continue
        if not (found["comment"] or "").strip("# "):
            silent.append(line.strip())
    assert silent == []


@cache
def compose_once(settings: tuple[str, ...], shared: tuple[str, ...] = ()) -> None:
    """Compose settings that many tables share."""
    config.compose("infer", settings, shared=shared)


@pytest.mark.parametrize("table", sorted(f.stem for f in (CONF / "table").glob("*.yaml")))
def test_all_of_a_table_composes(table: str):
    """Its methods and tasks with infer.py; its claims and published numbers name some of them."""
    cfg = config.plain(config.compose("benchmark", [f"table={table}"]).table)
    for node in cfg["methods"].values():
        compose_once(tuple(node["settings"]))
    for node in cfg["tasks"].values():
        compose_once((), tuple(node["settings"]))
        sensed = {"task=cs", "task=cpr"} & set(node["settings"])
        if sensed and cfg["published"]:  # the paper's operator
            assert "task.operator=gaussian" in node["settings"]
    assert cfg["reference"] in cfg["methods"]
    assert set(cfg["published"]) <= set(cfg["methods"])
    assert all(set(tasks) <= set(cfg["tasks"]) for tasks in cfg["published"].values())
    for claim in cfg["claims"]:
        assert {claim["of"], claim.get("over", claim["of"])} <= set(cfg["methods"])
        assert claim["kind"] in KINDS


@pytest.mark.parametrize("choice", ["metadip", "dip"])
def test_methods_and_callbacks_build(choice: str, tmp_path: Path):
    prior = save_tiny_prior(tmp_path / "prior.safetensors")
    own = {"metadip": f"ckpt={prior}", "dip": "prior=skip_unet_small"}[choice]
    cfg = config.compose("infer", [f"method={choice}", own])
    assert config.build(cfg.method).steps == {"metadip": 50, "dip": cfg.method.steps}[choice]
    assert cfg.choices.callbacks == {"metadip": "none", "dip": "dip"}[choice]


def test_callbacks_chosen_by_the_user_win():
    cfg = config.compose("infer", ["method=dip", "callbacks=es_wmv"])
    assert "es_wmv" in cfg.callbacks
    assert "ema" not in cfg.callbacks


@pytest.mark.parametrize("choice", [f.stem for f in sorted((CONF / "callbacks").glob("*.yaml"))])
def test_callbacks_build(choice: str):
    from metadip.callbacks import FitCallback

    cfg = config.compose("infer", [f"callbacks={choice}"])
    hooks = [config.build(node) for node in cfg.callbacks.values()]
    assert all(isinstance(hook, FitCallback) for hook in hooks)


@pytest.mark.parametrize("choice", ["celeba", "ellipses", "folder", "mixture", "natural", "sample"])
def test_data_build(choice: str):
    cfg = config.compose("train", [f"data={choice}", *NEEDED.get(("data", choice), [])])
    data = config.build(cfg.data, task=config.build(cfg.task), seed=cfg.seed)
    assert data.loader.batch_size == cfg.data.loader.batch_size


def test_the_rest_of_a_training_builds(tmp_path: Path):
    cfg = config.compose("train", ["trainer.accelerator=cpu", f"out={tmp_path}"])
    optimizer = config.build(cfg.optimizer, prior=config.build(cfg.prior))
    assert optimizer.log_lr.shape[0] == cfg.learner.inner_steps
    assert config.build(cfg.outer).clip_norm == cfg.outer.clip_norm
    assert config.build(cfg.objective).terms["tv"].weight == cfg.objective.terms.tv.weight
    trainer = config.build(cfg.trainer, logger=config.build(cfg.logger))
    assert trainer.max_steps == cfg.trainer.max_steps


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("fit.stepz=3", "did you mean 'fit.steps'"),
        ("task=denoize", "did you mean 'denoise'? (choices: blind_deblur, cdi, cpr, cs, ct, deb"),
        ("task=superres", "task=superres is unknown, did you mean 'task=sr'?"),
        ("method=DIP", "method=DIP is unknown, did you mean 'dip'?"),
        ("sigma=25", "did you mean 'task.noise_std in [0, 1] intensity, 25 of 255 is task.noise_s"),
        ("task.sigma=25", "unknown setting 'task.sigma', did you mean 'task.noise_std in [0, 1]"),
        ("mask=x.png", "unknown setting 'mask', did you mean 'task=inpaint task.mask=FILE'?"),
        ("ratio=0.1", "unknown setting 'ratio', did you mean 'task.ratio with task=cs, cpr"),
        ("--input=x.png", "--input=x.png: settings are written without dashes, input=VALUE"),
        ("+task.noise_sdt=0.1", "unknown setting 'task.noise_sdt', did you mean 'noise_std'"),
        ("sed=1", "did you mean 'seed'"),
    ],
)
def test_what_is_unknown_names_the_nearest(override: str, part: str):
    with pytest.raises(UserError, match=re.escape(part)):
        config.compose("infer", [override])


def test_a_value_that_must_be_given_is_asked_for():
    with pytest.raises(UserError, match=r"data\.root must be given"):
        config.compose("train", ["data=folder"])


def test_a_broken_interpolation_is_refused():
    with pytest.raises(UserError, match=r"cannot resolve|nothing"):
        config.compose("infer", ["image_size=${nothing}"])


def test_a_constructor_that_does_not_exist_is_refused():
    node = OmegaConf.create({"_target_": "metadip.callbacks.Nothing"})
    with pytest.raises(UserError, match=r"callbacks\._target_=metadip\.callbacks\.Nothing cannot"):
        config.check_keys(node, "callbacks")


def test_a_value_that_a_constructor_refuses_is_named():
    cfg = config.compose("infer", ["callbacks=dip", "callbacks.ema.decay=2"])
    with pytest.raises(UserError, match=r"callbacks\.ema: decay must be in"):
        config.build(cfg.callbacks.ema)


def test_a_key_without_its_group_names_it():
    with pytest.raises(UserError, match=r"unknown setting 'mask', did you mean 'task\.mask'\?"):
        config.compose("infer", ["task=inpaint", "mask=x.png"])
    with pytest.raises(UserError, match=r"unknown setting 'ratio', did you mean 'task\.ratio'\?"):
        config.compose("infer", ["task=cs", "ratio=0.1"])
