"""What a ``_target_`` may name: this package, and what the presets or the user list."""

import sys
from pathlib import Path

import pytest

from metadip import config
from metadip.types import UserError

PACKAGE = """
from pathlib import Path
Path({executed!r}).touch()
class Hook:
    def __init__(self, times: int): self.times = times
"""


@pytest.fixture
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that importing ``mylab4712`` makes."""
    made = tmp_path / "executed"
    (tmp_path / "mylab4712.py").write_text(PACKAGE.format(executed=str(made)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mylab4712", raising=False)
    return made


OWN = ["+callbacks.mine={_target_: mylab4712.Hook, times: 3}"]


def test_code_of_others_runs_only_if_it_is_allowed(executed: Path):
    with pytest.raises(UserError, match=r"callbacks\.mine\._target_=mylab4712\.Hook is not a con"):
        config.compose("infer", OWN)
    assert not executed.exists()
    cfg = config.compose("infer", [*OWN, "allow=[mylab4712]"])
    assert config.build(cfg.callbacks.mine).times == 3
    assert executed.exists()


def test_what_is_allowed_is_checked_as_all_else(executed: Path):
    with pytest.raises(UserError, match=r"callbacks\.mine\.times=x must be a whole number"):
        config.compose("infer", [OWN[0].replace("3", "x"), "allow=[mylab4712]"])


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "metadip.runs.train",
        "metadip.files.remove_leftovers",
        "metadip.data.images.Path",
        "metadip.runs.problems.os.system",
        "metadip.methods.fit.torch.load",
        "torch.nn.Conv2d",
        "metadip",
        "metadip.data",
        "x",
        "",
    ],
)
def test_other_names_are_refused(target: str):
    with pytest.raises(UserError, match=r"is not a constructor of metadip|cannot be imported"):
        config.compose("infer", [f"+callbacks.mine={{_target_: '{target}'}}"])


def test_a_key_that_nothing_reads_is_refused_without_being_imported(executed: Path):
    for change in ("+task.x={_target_: mylab4712.Hook}", "method.x._target_=mylab4712.Hook"):
        with pytest.raises(UserError):
            config.compose("infer", [change])
    assert not executed.exists()


def test_help_says_whose_code_runs():
    text = (config.conf_dir() / "infer.yaml").read_text()
    assert "its code is run" in next(line for line in text.splitlines() if "physics:" in line)
    assert "their code is run" in next(line for line in text.splitlines() if "allow:" in line)
