"""The settings of the method that reach the problems of a run."""

from pathlib import Path

import pytest
import torch

from metadip import config, runs
from metadip.runs.problems import problems_of
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
