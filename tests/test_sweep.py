"""Sweep files start train.py by its real arguments."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from metadip import config
from tests.tiny import REPO, TRAIN, replaced, run_script

SWEEPS = sorted((REPO / "conf" / "sweep").glob("*.yaml"))
NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "WANDB_BASE_URL"), "http://127.0.0.1:9")


def read_sweep(file: Path) -> dict[str, Any]:
    """Read a sweep as W&B does: ``${env}`` is W&B's word, no interpolation."""
    content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def value_of(parameter: dict[str, Any]) -> object:
    """Return a value that the sweep's controller could send."""
    if "value" in parameter:
        return parameter["value"]
    return parameter["values"][0] if "values" in parameter else parameter["min"]


def expand(sweep: dict[str, Any]) -> list[str]:
    """Return the command line as the agent builds it, the arguments by W&B's own function."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    settings = {name: {"value": value_of(p)} for name, p in sweep["parameters"].items()}
    formats = create_sweep_command_args({"args": settings})
    macros = {
        "${env}": ["/usr/bin/env"],
        "${interpreter}": ["python"],
        "${program}": [sweep["program"]],
        "${args_no_hyphens}": formats["args_no_hyphens"],
    }
    return [word for part in sweep["command"] for word in macros.get(part, [part])]


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_every_value_is_a_setting_of_train(file: Path):
    sweep = read_sweep(file)
    env, interpreter, script, *arguments = expand(sweep)
    assert (env, interpreter, script) == ("/usr/bin/env", "python", "train.py")
    cfg = config.compose("train", arguments)
    assert cfg.choices.logger == "wandb"
    values = {n: p.get("values", [value_of(p)]) for n, p in sweep["parameters"].items()}
    for row in range(max(map(len, values.values()))):  # of all parameters at once
        changed = [f"{name}={given[row % len(given)]}" for name, given in values.items()]
        config.compose("train", replaced(arguments, changed))


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.stem)
def test_the_metric_is_one_that_training_logs(file: Path):
    metric = read_sweep(file)["metric"]
    module = (REPO / "src" / "metadip" / "meta" / "meta_module.py").read_text("utf-8")
    assert f'self.log("{metric["name"]}"' in module
    assert metric["goal"] == "maximize"


@pytest.mark.slow  # starts W&B's service beside a training
def test_a_run_of_a_sweep_trains_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    sweep = read_sweep(REPO / "conf" / "sweep" / "inner_lr.yaml")
    out = tmp_path / "out"
    arguments = [*replaced(expand(sweep)[3:], TRAIN), f"out={out}"]
    result = run_script("train.py", arguments, env={**NO_NETWORK, "HOME": str(tmp_path)})
    assert result.returncode == 0, result.stderr
    assert sum("no key found" in line for line in result.stdout.splitlines()) == 1
    assert "127.0.0.1" not in result.stdout + result.stderr  # nothing was asked of the network
    (record,) = out.glob("wandb/offline-run-*/*.wandb")
    assert b"val/psnr_db" in record.read_bytes()
    assert (out / "prior.safetensors").is_file()
