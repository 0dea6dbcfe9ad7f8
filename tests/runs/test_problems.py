"""What is dealt out to the processes of a run, and the settings of the method that reach it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from metadip import config, runs
from metadip.report.figures import save_image
from metadip.runs.problems import ProblemData, check_served, problems_of
from metadip.types import InverseProblem, UserError
from tests.tiny import save_tiny_prior

DOUBLE = """
from deepinv.physics import LinearPhysics


class Double(LinearPhysics):
    def A(self, x, **_):
        return 2 * x
"""


class Processes:
    """A strategy in which the first process broadcasts ``said``, and ``agree`` is the others'."""

    def __init__(self, said: Any, *, agree: bool = True):
        self.said, self.agree = said, agree

    def broadcast(self, _: Any) -> Any:
        return self.said

    def reduce_boolean_decision(self, decision: bool) -> bool:
        return decision and self.agree


def set_up(strategy: Any) -> ProblemData:
    """Return the data of a process that found files a and b, both left to do."""
    source: Any = SimpleNamespace(names=["a", "b"])
    data = ProblemData(source, left=[0, 1], batch_size=1, stacked=None)
    data.trainer = SimpleNamespace(strategy=strategy)  # type: ignore[assignment]
    data.setup("predict")
    return data


def test_the_first_process_decides_what_is_left():
    assert set_up(Processes(([1], ["a", "b"]))).left == [1]


@pytest.mark.parametrize(
    "strategy",
    [
        Processes(([0], ["b"])),  # this process found another file
        Processes(([0, 1], ["a", "b"]), agree=False),  # another process did
    ],
)
def test_processes_that_found_other_files_are_refused(strategy: Processes):
    with pytest.raises(UserError, match="the input folder changed while the run began: start it"):
        set_up(strategy)


@pytest.mark.parametrize(("settings", "scale"), [([], 0.5), (["rescale=false"], 1.0)])
def test_own_operators_are_rescaled_unless_told_otherwise(
    settings: list[str], scale: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "lab4715.py").write_text(DOUBLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.save({"y": torch.rand(3, 8, 8), "image_shape": (3, 8, 8)}, tmp_path / "scan.pt")
    prior = save_tiny_prior(tmp_path / "prior.safetensors")
    chosen = [f"ckpt={prior}", "physics=lab4715:Double", f"measurement={tmp_path / 'scan.pt'}"]
    cfg = config.compose("infer", [*chosen, *settings])
    method = runs.build_method(cfg)
    assert problems_of(cfg, method)[0].scale == pytest.approx(scale)


def test_a_kernel_larger_than_the_example_is_judged_by_an_image(tmp_path: Path):
    save_image(tmp_path / "a.png", torch.rand(3, 40, 44))
    words = ["task=deblur", "task.kernel_std_px=5", f"input={tmp_path / 'a.png'}"]
    seen: list[InverseProblem] = []
    method: Any = SimpleNamespace(
        image_channels=None, check=lambda problem, task: seen.append(problem)
    )
    check_served(problems_of(config.compose("infer", words), method), method, task="deblur")
    assert [problem.image_shape for problem in seen] == [(3, 40, 44)]
