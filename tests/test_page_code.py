"""The code of docs/start.md, own.md and stopping.md, run in order but for the numbers of steps."""

import re
import sys
from pathlib import Path

import pytest
import torch

from metadip.__main__ import main

BLOCK = re.compile(r"^```(python)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STEPS = re.compile(r"\bsteps=\d+")
MODULE = re.compile(r"# (mylab/\w+\.py)\n")
RUN = re.compile(r"^python infer\.py (.+)$", re.MULTILINE)


@pytest.mark.parametrize("page", ["start", "own", "stopping"])
def test_the_code_of_a_page_runs(
    page: str, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, object] = {}
    commands = []
    for language, code in BLOCK.findall((repo / "docs" / f"{page}.md").read_text("utf-8")):
        if not language:
            commands += RUN.findall(code)
            continue
        if module := MODULE.match(code):
            (tmp_path / "mylab").mkdir()
            (tmp_path / module[1]).write_text(code)
        exec(compile(STEPS.sub("steps=2", code), page, "exec"), names)
    assert "metadip" in names
    if page == "own":
        for command in commands:
            assert main(["infer", *command.split(), "fit.steps=1", "image_size=null"]) == 0
            assert (tmp_path / command.rpartition("out=")[2] / "metrics.json").is_file()
        sys.modules.pop("mylab.operators")
        sys.modules.pop("mylab")
        assert len(commands) == 2
    if page != "stopping":
        x_hat = names["x_hat"]
        assert isinstance(x_hat, torch.Tensor)
        assert bool(x_hat.isfinite().all())
