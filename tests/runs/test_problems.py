"""The settings of the method that reach the problems of a run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from metadip import config, runs
from metadip.report.figures import save_image
from metadip.runs.problems import check_served, problems_of
from metadip.types import InverseProblem
from tests.tiny import save_tiny_prior

DOUBLE = """
from deepinv.physics import LinearPhysics


class Double(LinearPhysics):
    def A(self, x, **_):
        return 2 * x
"""


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
