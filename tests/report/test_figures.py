import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deepinv.physics import LinearPhysics
from PIL import Image

from metadip.report import (
    comparison_panels,
    contact_sheet,
    measurement_picture,
    save_comparison,
    save_curves,
    save_image,
)
from metadip.types import InverseProblem, UserError


class Linear:
    """An operator with an adjoint."""

    def A_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y.reshape(-1, 3, 4, 4) * 10 - 3


def problem_of(y: torch.Tensor, physics: Any = None, *, x: bool = False) -> InverseProblem:
    truth = torch.full((1, 3, 4, 4), 0.5) if x else None
    return InverseProblem(y, physics, (3, 4, 4), x=truth)


def read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        assert image.format == "PNG"
        image.load()
    return image


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (2, "L")])
def test_an_image_is_saved_in_8_bits(tmp_path: Path, channels: int, mode: str):
    x = torch.rand(1, channels, 6, 7, requires_grad=True)
    save_image(tmp_path / "a.png", x)
    image = read(tmp_path / "a.png")
    assert (image.mode, image.size) == (mode, (7, 6))
    shown = x.detach()[0] if channels != 2 else x.detach()[0].mean(0, keepdim=True)
    pixels = np.asarray(image).reshape(6, 7, -1) / 255
    np.testing.assert_allclose(pixels, shown.permute(1, 2, 0).numpy(), atol=0.5 / 255 + 1e-6)
    assert os.listdir(tmp_path) == ["a.png"]


def test_an_image_is_clipped(tmp_path: Path):
    save_image(tmp_path / "a.png", torch.tensor([[[-1.0, 0.5, 2.0, math.nan]]]))
    assert np.asarray(read(tmp_path / "a.png")).tolist() == [[0, 128, 255, 0]]


def test_what_was_measured():
    y = torch.rand(1, 3, 4, 4)
    title, image = measurement_picture(problem_of(y))
    assert title == "measured"
    assert image is not None
    assert torch.equal(image, y[0])

    _, image = measurement_picture(problem_of(50 * torch.rand(1, 3, 7, 5)))  # such as a sinogram
    assert image is not None
    assert (image.min().item(), image.max().item()) == (0, 1)

    title, image = measurement_picture(problem_of(torch.rand(1, 48), Linear()))
    assert title == "48 measurements (adjoint)"
    assert image is not None
    assert image.shape == (3, 4, 4)
    assert (image.min().item(), image.max().item()) == (0, 1)

    for y in (torch.rand(1, 10) - 0.5, torch.rand(1, 10, dtype=torch.complex64)):
        title, image = measurement_picture(problem_of(y))
        assert title == "10 measurements (magnitudes)"
        assert image is not None
        assert image.shape == (1, 4, 4)
        torch.testing.assert_close(image.flatten()[:10], y[0].abs() / y.abs().max())
        assert not image.flatten()[10:].any()
    assert measurement_picture(problem_of(torch.zeros(1, 9)))[1] is not None


@pytest.mark.parametrize(
    "adjoint",
    [
        None,  # deepinv's own, which needs img_size
        lambda y: 1 / 0,
        lambda y: [y],
        lambda y: y,
        lambda y: y.reshape(1, 3, 4, 4) * 1j,
        lambda y: y.reshape(1, 12, 2, 2),
        lambda y: y.reshape(3, 1, 4, 4),
        lambda y: y.reshape(1, 3, 4, 4)[..., :0],
    ],
)
def test_an_adjoint_that_gives_no_image_is_done_without(adjoint: Any):
    physics = LinearPhysics(A=lambda x, **_: x.flatten(1))
    if adjoint is not None:
        physics.A_adjoint = adjoint
    y = torch.rand(1, 48)
    title, image = measurement_picture(problem_of(y, physics))
    assert title == "48 measurements (magnitudes)"
    assert image is not None
    torch.testing.assert_close(image.flatten()[:48], y[0] / y.max())


def test_panels_tell_the_psnr():
    x_hat = torch.full((1, 3, 4, 4), 0.6)
    panels = comparison_panels(problem_of(torch.full((1, 3, 4, 4), 0.4), x=True), x_hat)
    assert [title for title, _ in panels] == [
        "truth", "measured, 20.00 dB", "reconstruction, 20.00 dB",
    ]  # fmt: skip
    panels = comparison_panels(problem_of(torch.zeros(1, 48), Linear(), x=True), x_hat)
    assert panels[1][0] == "48 measurements (adjoint)"
    panels = comparison_panels(problem_of(torch.zeros(1, 48), Linear()), x_hat)
    assert panels[0] == ("no ground truth", None)
    assert panels[2][0] == "reconstruction"


def test_comparison(tmp_path: Path):
    panels = [("truth", None), ("a $ b_$ %", torch.rand(1, 8, 8)), ("c", torch.rand(1, 3, 40, 20))]
    save_comparison(tmp_path / "a.png", panels, title="an $ image")
    image = read(tmp_path / "a.png")
    assert image.width > 2 * image.height
    assert len(set(image.convert("L").tobytes())) > 50  # not blank
    with pytest.raises(ValueError, match="no panels to compare"):
        save_comparison(tmp_path / "b.png", [])
    assert os.listdir(tmp_path) == ["a.png"]


CURVES = {
    "loss": torch.linspace(1, 0, 30),  # ends at zero, which a logarithmic axis cannot show
    "psnr_db": torch.linspace(10, 30, 30),
    "psnr_raw_db": torch.linspace(9, 29, 30),
    "variance": torch.cat([torch.full((9,), math.nan), torch.linspace(1, 0.1, 21)]).double(),
    "chosen_step": torch.tensor([math.nan] * 9 + [9.0] * 20 + [math.nan]),
}


def test_curves(tmp_path: Path):
    save_curves(tmp_path / "a.png", CURVES, stop_step=29, title="a_$b")
    save_curves(tmp_path / "b.png", {"loss": torch.zeros(1), "psnr_db": torch.full((1,), math.nan)})
    assert read(tmp_path / "a.png").height > 2 * read(tmp_path / "b.png").height


def test_the_chosen_step_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn: list[Any] = []
    monkeypatch.setattr(
        "metadip.report.curve_figures.save_figure", lambda path, figure: drawn.append(figure)
    )
    save_curves(tmp_path / "a.png", CURVES, stop_step=29)
    axes = drawn[0].axes
    assert [ax.get_legend_handles_labels()[1] for ax in axes] == [
        ["stopped at 29", "chosen at 9"], ["output", "single step"], [],
    ]  # fmt: skip
    assert [ax.get_lines()[-1].get_xdata()[0] for ax in axes] == [9, 9, 9]
    assert [ax.get_yscale() for ax in axes] == ["log", "linear", "log"]
    assert [ax.get_ylabel() for ax in axes] == ["loss", "PSNR (dB)", "variance"]
    assert axes[-1].get_xlabel() == "step (weight updates)"


@pytest.mark.parametrize(
    ("name", "label"), [("self_validation", "SV-ES error"), ("discrepancy", "residual / noise")]
)
def test_what_a_rule_saw_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, label: str
):
    drawn: list[Any] = []
    monkeypatch.setattr(
        "metadip.report.curve_figures.save_figure", lambda path, figure: drawn.append(figure)
    )
    curves = {
        "loss": CURVES["loss"],
        name: CURVES["variance"],
        "chosen_step": CURVES["chosen_step"],
    }
    save_curves(tmp_path / "a.png", curves, stop_step=29)
    assert [ax.get_ylabel() for ax in drawn[0].axes] == ["loss", label]
    lines = drawn[0].axes[1].get_lines()
    assert lines[0].get_xdata().tolist() == list(range(9, 30))
    assert lines[0].get_ydata()[-1] == pytest.approx(0.1)
    assert [line.get_xdata()[0] for line in lines[1:]] == [29, 9]  # stopped, chosen


def test_contact_sheet(tmp_path: Path):
    images = [torch.rand(1, 5, 9), torch.rand(3, 200, 300), torch.rand(1, 3, 1, 400)]
    contact_sheet(tmp_path / "a.png", images, ["a", "a very long name of an image.png", ""])
    assert read(tmp_path / "a.png").size == (2 * 136 + 8, 2 * 152 + 8)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda p: save_image(p, torch.zeros(2, 3, 4, 4)), r"expected one image .* got \(2, 3, 4"),
        (lambda p: save_image(p, torch.zeros(4, 4)), r"expected one image .* got \(4, 4\)"),
        (lambda p: save_comparison(p, [("a", torch.zeros(4))]), r"expected one image .* \(4,\)"),
        (lambda p: contact_sheet(p, [torch.zeros(4)], ["a"]), r"expected one image .* \(4,\)"),
        (lambda p: contact_sheet(p, [], []), "need images and as many names, got 0 and 0"),
        (lambda p: contact_sheet(p, [torch.zeros(1, 4, 4)], []), "as many names, got 1 and 0"),
        (lambda p: save_curves(p, {}), r"nothing to draw in the curves \(none given\)"),
        (lambda p: save_curves(p, {"x": torch.ones(3)}), r"nothing to draw in the curves \(x\)"),
    ],
)
def test_bad_arguments(tmp_path: Path, draw, message: str):
    with pytest.raises(ValueError, match=message):
        draw(tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "draw",
    [
        lambda p: save_image(p, torch.zeros(1, 4, 4)),
        lambda p: save_comparison(p, [("a", torch.zeros(1, 4, 4))]),
        lambda p: save_curves(p, CURVES),
        lambda p: contact_sheet(p, [torch.zeros(1, 4, 4)], ["a"]),
    ],
)
def test_unwritable_places_are_named(tmp_path: Path, draw):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to folder '.*file'"):
        draw(tmp_path / "file" / "a.png")
