"""What an installed package holds, and how it does without what it need not have."""

import importlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from metadip import config, meta
from metadip.types import UserError

LARGEST_WHEEL = 15e6  # bytes


def test_a_missing_learn2learn_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(meta, "find_spec", lambda name: None)
    build = {name: config.compose("train", [f"learner={name}"]).learner for name in meta.ENGINES}
    text = r"pip install 'metadip\[train\]'; learner=functional gives the same gradient"
    with pytest.raises(UserError, match=text):
        config.build(build["learn2learn"])
    assert config.build(build["functional"])


@pytest.mark.slow  # gets the build backend from the package index
def test_the_wheel_is_small_and_whole(tmp_path: Path, repo: Path):
    uv = shutil.which("uv") or shutil.which("uv", path=repo / ".uv" / "bin")
    if uv is None:
        pytest.skip("uv builds the wheel, and is not installed")
    subprocess.run([uv, "build", "--wheel", "-q", "-o", tmp_path, repo], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert wheel.stat().st_size < LARGEST_WHEEL
    assert {"metadip/py.typed", "metadip/conf/infer.yaml", "metadip/released/photo.md"} <= names
    described = {name for name in names if name.endswith(".safetensors")}
    assert described
    assert {name.replace(".safetensors", ".md") for name in described} <= names
    metadata = zipfile.ZipFile(wheel).read("metadip-0.1.0.dist-info/METADATA").decode()
    needs = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert [need for need in needs if "learn2learn" in need] == [
        "Requires-Dist: learn2learn==0.2.0; extra == 'train'"
    ]


@pytest.mark.slow  # gets the package's dependencies from the package index
def test_the_wheel_serves_in_a_fresh_environment(monkeypatch: pytest.MonkeyPatch, repo: Path):
    monkeypatch.syspath_prepend(repo / "benchmarks")
    script = importlib.import_module("fresh_install")
    try:
        script.find_uv()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    steps = [row["step"] for row in script.main([])]
    assert steps == [
        "environment", "install", "extras are absent", "metadip infer", "metadip train",
        "metadip.demo",
    ]  # fmt: skip


def test_a_fresh_environment_has_no_compiler_and_nothing_of_the_checkout(
    monkeypatch: pytest.MonkeyPatch, repo: Path
):
    monkeypatch.syspath_prepend(repo / "benchmarks")
    monkeypatch.setenv("PYTHONPATH", "src")
    monkeypatch.setenv("CC", "gcc")
    clean = importlib.import_module("fresh_install").clean_environment()
    assert (clean["CC"], clean["CXX"]) == ("/bin/false", "/bin/false")
    assert not any(name.startswith("PYTHON") for name in clean)


def test_a_step_that_fails_says_what_it_said(monkeypatch: pytest.MonkeyPatch, repo: Path):
    monkeypatch.syspath_prepend(repo / "benchmarks")
    script = importlib.import_module("fresh_install")
    failing = [("install", [sys.executable, "-c", "raise SystemExit('no wheel')"])]
    monkeypatch.setattr(script, "find_uv", lambda: "uv")
    monkeypatch.setattr(script, "steps_of", lambda *arguments: failing)
    with pytest.raises(RuntimeError, match=r"3\.11: install: no wheel"):
        script.try_wheel(Path("a.whl"), "3.11", [])
