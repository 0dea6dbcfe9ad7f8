"""What is shown and scored of a reconstruction, where that is not the unknown itself."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from deepinv.physics import Denoising, GaussianNoise
from PIL import Image
from torch import Tensor

from metadip.callbacks import OraclePSNR
from metadip.fitting import Execution
from metadip.metrics import psnr_db, ssim
from metadip.report import FitGif, ResultWriter, comparison_panels, entry_of
from metadip.runs.cells import _numbers
from metadip.types import FitResult, InverseProblem
from tests.fitting.tiny import image, noisy, tiny_prior
from tests.methods.tiny_prediction import tiny_method

SHAPE = (2, 12, 14)


def magnitude(x_hat: Tensor, x: Tensor | None) -> Tensor:
    """Return the magnitude of a complex image whose parts are two channels."""
    shown: Tensor = torch.linalg.vector_norm(x_hat, dim=1, keepdim=True)
    return shown


def complex_problem(seed: int, *, known: bool = True) -> InverseProblem:
    """Return a noisy complex image, of which the magnitude is known."""
    parts = image(seed, SHAPE)
    y = parts + 0.1 * torch.randn(parts.shape, generator=torch.Generator().manual_seed(seed))
    x = magnitude(parts, None) if known else None
    physics = Denoising(GaussianNoise(0.1))
    return InverseProblem(y, physics, SHAPE, x=x, name=str(seed), seed=seed, reading=magnitude)


def fitted(problems: list[InverseProblem], out: Path, *, stacked: bool = False) -> list[FitResult]:
    hooks = [OraclePSNR(), FitGif(out, single=len(problems) == 1, frames=3)]
    prior = tiny_prior(channels=problems[0].image_shape[0])
    execution = Execution(stacked=stacked)
    return tiny_method(prior=prior, execution=execution).reconstruct(problems, hooks=hooks)


def test_the_reading_is_the_image_unless_there_is_one() -> None:
    x_hat = image(0, SHAPE)
    assert noisy(0).read(x_hat) is x_hat
    assert torch.equal(complex_problem(0).read(x_hat), magnitude(x_hat, None))
    assert complex_problem(0).to("cpu").reading is magnitude


@pytest.mark.parametrize("stacked", [False, True])
def test_curves_and_scores_are_of_the_reading(stacked: bool, tmp_path: Path) -> None:
    problems = [complex_problem(1), complex_problem(2, known=False)]
    results = fitted(problems, tmp_path, stacked=stacked)
    problem, result = problems[0], results[0]
    shown = magnitude(result.x_hat, None)
    assert problem.x is not None
    expected = psnr_db(shown, problem.x).item()
    assert result.curves["psnr_db"][-1].item() == pytest.approx(expected, abs=1e-4)
    entry = entry_of(problem, result)
    assert entry["psnr_db"] == pytest.approx(expected, abs=1e-4)
    assert entry["ssim"] == pytest.approx(ssim(shown, problem.x).item(), abs=1e-5)
    assert _numbers(problem, result)["psnr_db"] == entry["psnr_db"]
    assert results[1].curves["psnr_db"].isnan().all()
    assert entry_of(problems[1], results[1])["psnr_db"] is None


def test_pictures_show_the_reading(tmp_path: Path) -> None:
    problem = complex_problem(1)
    (result,) = fitted([problem], tmp_path)
    ResultWriter(tmp_path, single=True).write(problem, result)
    with Image.open(tmp_path / "reconstruction.png") as picture:
        pixels = torch.from_numpy(np.array(picture)) / 255
    shown = magnitude(result.x_hat, None)
    torch.testing.assert_close(pixels, shown[0, 0].clamp(0, 1), rtol=0, atol=0.51 / 255)
    assert torch.equal(comparison_panels(problem, result.x_hat)[2][1], shown)  # type: ignore[arg-type]
    entry = json.loads((tmp_path / "entries" / "1.json").read_text("utf-8"))
    assert f"{entry['psnr_db']:.2f} dB" in comparison_panels(problem, result.x_hat)[2][0]
    with Image.open(tmp_path / "fit.gif") as film:
        film.seek(film.n_frames - 1)  # type: ignore[attr-defined]
        frame = np.asarray(film.convert("L"))[: -18 : 192 // SHAPE[2] + 1, :: 192 // SHAPE[2] + 1]
    np.testing.assert_allclose(frame / 255, pixels.numpy(), atol=0.02)
