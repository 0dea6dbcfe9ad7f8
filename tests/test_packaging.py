"""What an installed package holds, and how it does without what it need not have."""

import shutil
import subprocess
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
