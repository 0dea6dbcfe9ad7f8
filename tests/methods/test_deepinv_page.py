"""The code of docs/deepinv.md, run as it stands but for the numbers of steps."""

import re
from pathlib import Path

import pytest
import torch
from deepinv.models import Reconstructor

STEPS = re.compile(r"\b(steps|iterations|max_iter|n_it_max)=\d+")


def blocks(repo: Path) -> list[str]:
    page = (repo / "docs" / "deepinv.md").read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_every_block_runs_and_is_of_ten_lines(repo: Path):
    setting, *methods = blocks(repo)
    assert len(methods) == 4
    given: dict[str, object] = {}
    exec(compile(setting, "docs/deepinv.md", "exec"), given)
    for code in methods:
        assert code.count("\n") <= 10
        names = dict(given)
        exec(compile(STEPS.sub(r"\1=2", code), "docs/deepinv.md", "exec"), names)
        model, x_hat = names["model"], names["x_hat"]
        assert isinstance(model, torch.nn.Module)
        assert isinstance(x_hat, torch.Tensor)
        assert x_hat.shape == (1, 3, 64, 64)
        assert bool(x_hat.isfinite().all())
    assert sum("metadip." in code for code in methods) == 2


@pytest.mark.parametrize("number", [1, 2])
def test_ours_are_reconstructors(repo: Path, number: int):
    names: dict[str, object] = {}
    code = "\n".join([blocks(repo)[0], blocks(repo)[number].partition("x_hat")[0]])
    exec(compile(code, "docs/deepinv.md", "exec"), names)
    assert isinstance(names["model"], Reconstructor)
