"""What training shows at every validation."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torchvision.io import read_image

from metadip.fitting import MomentumSGD
from metadip.meta import ValidationPicture
from metadip.meta.pictures import step_size_picture
from tests.meta.tiny_training import SHAPE, tiny_data, tiny_module, tiny_trainer


class PictureLogger(CSVLogger):
    """A logger that takes images, as W&B does."""

    shown: list[tuple[str, int, Tensor]]

    def log_image(self, key: str, images: list[Tensor], step: int) -> None:
        """Keep them."""
        self.shown = [*getattr(self, "shown", []), (key, step, images[0])]


def train_with(tmp_path: Path, **options: Any) -> None:
    trainer = tiny_trainer(
        tmp_path,
        callbacks=[ValidationPicture(tmp_path)],
        max_steps=4,
        limit_val_batches=1.0,
        **options,
    )
    trainer.fit(tiny_module(step_size_lr=0.5), tiny_data(2))


def test_pictures_go_to_the_run_folder(tmp_path: Path):
    train_with(tmp_path)
    names = [
        f"{name}_{step:06d}.png" for name in ("reconstruction", "step_sizes") for step in (2, 4)
    ]
    files = sorted((tmp_path / "validation").iterdir())
    assert [file.name for file in files] == names
    panels, _, one, two = (read_image(str(file)) for file in files)
    assert panels.shape == (3, SHAPE[1], 3 * SHAPE[2])  # truth, measurement, reconstruction
    assert not torch.equal(one, two)


def test_pictures_go_to_a_logger_that_takes_them(tmp_path: Path):
    logger = PictureLogger(tmp_path)
    train_with(tmp_path, logger=logger)
    expected = [(f"val/{n}", s) for s in (2, 4) for n in ("reconstruction", "step_sizes")]
    assert [(key, step) for key, step, _ in logger.shown] == expected
    assert not (tmp_path / "validation").exists()


@pytest.mark.parametrize("n_tensors", [1, 5])
def test_the_thick_line_is_at_the_geometric_mean(n_tensors: int):
    """0.01 lies two thirds of the way from the upper bound to the lower, on a logarithmic axis."""
    rule = MomentumSGD(lr=0.01, momentum=0.5, n_steps=4, n_tensors=n_tensors, lr_bounds=(1e-3, 1.0))
    with torch.no_grad():
        rule.log_lr.add_(torch.arange(n_tensors) - (n_tensors - 1) / 2)
    rows = []
    picture = step_size_picture(rule)
    red, green, blue = picture
    for mask in ((red > 0.7) & (blue < 0.5) & (green < 0.6), (blue > 0.6) & (red < 0.2)):
        rows.append(mask.any(dim=1).nonzero().float())
    bounds, line = rows
    low, high = bounds.max().item(), bounds.min().item()
    assert line.mean().item() == pytest.approx(high + (low - high) * 2 / 3, abs=2)
    assert 0 <= picture.min() <= picture.max() <= 1
