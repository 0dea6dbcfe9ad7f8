"""Mistakes and --help need neither torch nor patience; ``metadip`` does what the scripts do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metadip import __main__, command_line
from tests.tiny import REPO

LIGHT = (
    "metadip", "metadip.config", "metadip.command_line", "metadip.types", "metadip.files",
    "metadip.paths", "metadip.__main__",
)  # fmt: skip
MISTAKES = (
    ["infer", "input=missing.png"],
    ["infer", "measurement=missing.pt"],
    ["infer", "ckpt=faces65", "input=."],
    ["infer", "measurement=.", "truth=missing"],
    ["infer", "method=single_image", "method.image=missing.png", "input=."],
    ["infer", "method=drunet", "denoiser.weights=missing.pth", "input=."],
    ["infer", "sede=1"],
    ["infer", "task=denoize"],
    ["infer", "objective=l1"],
    ["infer", "seed=abc", "input=."],
    ["infer", "gif=5", "input=."],
    ["infer", "image_size=${nothing}"],
    ["train", "ckpt=missing.ckpt"],
    ["train", "start=faces65"],
    ["train", "data=folder"],
    ["train", "data=folder", "data.root=missing"],
    ["train", "data=natural", "data.root=[.,missing]"],
    ["train", "data=mixture", "data.weights.faces=0", "data.sources.natural.roots=missing"],
    ["benchmark", "images=missing"],
    ["benchmark", "faces=missing"],
    ["nosuch"],
)


def run_python(code: str, folder: Path, **env: str) -> list[str]:
    """Run code in a new interpreter, whose environment says nothing of threads."""
    kept = {k: v for k, v in os.environ.items() if k not in command_line.WAITING}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**kept, **env}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return result.stdout.splitlines()


def test_light_modules_import_no_torch(tmp_path: Path):
    code = f"import {', '.join(LIGHT)}, sys; print('torch' in sys.modules)"
    assert run_python(code, tmp_path) == ["False"]


def test_mistakes_and_help_import_no_torch(tmp_path: Path):
    code = f"""
import sys
from metadip.__main__ import main
for words in {MISTAKES!r}:
    print(main(words), "torch" in sys.modules)
main(["infer", "--help"])
print("torch" in sys.modules)
"""
    printed = run_python(code, tmp_path)
    assert printed[: len(MISTAKES)] == ["2 False"] * len(MISTAKES)
    assert printed[-1] == "False"


@pytest.mark.slow
def test_reconstruction_does_not_import_learn2learn(tmp_path: Path):
    code = """
import os, sys
from metadip import command_line, config
command_line.main("infer", print, ["--help"])
print()
config.compose("infer", ["method=dip"])
import metadip.runs.problems, metadip.runs.continuing, metadip.report
print("torch" in sys.modules, "learn2learn" in sys.modules)
print(os.environ["OMP_WAIT_POLICY"], os.environ.get("GOMP_SPINCOUNT"))
"""
    printed = run_python(code, tmp_path)
    assert printed[-2:] == ["True False", "PASSIVE 0"]


@pytest.mark.parametrize("theirs", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "9"}])
def test_a_users_thread_policy_stays(theirs: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    environment = dict(theirs)
    monkeypatch.setattr(os, "environ", environment)
    command_line.set_thread_policy()
    assert environment == theirs


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["nosuch"], "error: unknown command 'nosuch' (commands: train, infer, benchmark)\n"),
        (["infr"], "error: unknown command 'infr', did you mean 'infer'? (commands: train,"),
        ([], "error: no command (commands: train, infer, benchmark)\n"),
        (["train", "sede=1"], "error: unknown setting 'sede', did you mean 'seed'?"),
    ],
)
def test_mistakes_of_the_command(words: list[str], error: str, capsys: pytest.CaptureFixture[str]):
    assert __main__.main(words) == 2
    assert capsys.readouterr().err.startswith(error)


def test_help_of_the_command(capsys: pytest.CaptureFixture[str]):
    assert __main__.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in __main__.COMMANDS)
    assert __main__.main(["benchmark", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: metadip benchmark [SETTING=VALUE ...]")


def test_the_command_runs_what_the_scripts_run():
    import benchmark
    import infer
    import train

    scripts = {"train": train, "infer": infer, "benchmark": benchmark}
    for name, script in scripts.items():
        assert script.run is __main__.COMMANDS[name]
        assert script.main is __main__.main


def test_the_package_is_a_command(tmp_path: Path):
    """In a folder without presets."""
    command = [sys.executable, "-m", "metadip", "infer", "--help"]
    env = {**os.environ, "PYTHONPATH": str(REPO / "src")}
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=True)
    assert b"usage: metadip infer" in result.stdout
