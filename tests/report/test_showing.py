"""A result as one figure: its pictures and curves, and nothing left behind."""

from dataclasses import replace

import matplotlib as mpl
import pytest
import torch
from deepinv.physics import Denoising, Inpainting
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import metadip
from metadip.types import FitResult, InverseProblem

X = torch.linspace(0, 1, 3 * 8 * 12).reshape(1, 3, 8, 12)
PROBLEM = InverseProblem(X + 0.1, Denoising(), (3, 8, 12), x=X)
CURVES = {
    "loss": torch.tensor([1.0, 0.1, 0.01]),
    "psnr_db": torch.tensor([10.0, 20.0, 30.0]),
    "psnr_raw_db": torch.tensor([10.0, 20.0, 30.0]),
    "unknown": torch.ones(3),
}
RESULT = FitResult(X, 2, 2, "the residual is that of the noise", 0.1, CURVES)


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.subfigs[0].axes]


def legend(ax: Axes) -> list[str]:
    return ax.get_legend_handles_labels()[1]


def test_pictures_stand_above_the_curves():
    figure = metadip.show(RESULT, PROBLEM, title="a_$b")
    assert titles(figure) == ["truth", "measured, 20.00 dB", "reconstruction, inf dB"]
    loss, psnr = figure.subfigs[1].axes
    assert (loss.get_ylabel(), loss.get_yscale(), psnr.get_ylabel()) == ("loss", "log", "PSNR (dB)")
    assert psnr.dataLim.intervaly.tolist() == [10, 30]
    assert len(psnr.lines) == 2  # output and stop: a single step is the output here
    assert legend(loss) == ["stopped at 2"]
    assert figure.get_suptitle() == "a_$b"


def test_what_is_not_known_is_left_out():
    unknown = replace(PROBLEM, x=None)
    assert titles(metadip.show(RESULT, unknown)) == ["measured", "reconstruction"]
    assert titles(metadip.show(RESULT)) == ["reconstruction"]
    alone = metadip.show(X[0], unknown)  # as a reconstructor returns it
    assert len(alone.subfigs) == 1
    assert titles(metadip.show(RESULT._replace(curves={}))) == ["reconstruction"]


def test_an_average_is_drawn_beside_the_single_steps():
    curves = CURVES | {"psnr_raw_db": torch.tensor([10.0, 25.0, 20.0])}
    psnr = metadip.show(RESULT._replace(curves=curves)).subfigs[1].axes[1]
    assert legend(psnr) == ["output", "single step"]


def test_other_measurements_are_shown_through_their_adjoint():
    mask = (torch.arange(12) % 2 == 0).expand(1, 8, 12).float()
    physics = Inpainting((3, 8, 12), mask=mask)
    problem = InverseProblem(physics.A(X).flatten(1)[:, ::2], physics, (3, 8, 12), x=X)
    assert titles(metadip.show(X, problem))[1].startswith("144 measurements (")


def test_notebooks_get_a_picture_and_no_style_changes():
    before = dict(mpl.rcParams)
    png = metadip.show(RESULT, PROBLEM)._repr_png_()  # type: ignore[attr-defined]
    assert png.startswith(b"\x89PNG")
    assert dict(mpl.rcParams) == before


def test_several_images_are_refused():
    with pytest.raises(ValueError, match=r"expected one image .* got \(2, 3, 8, 12\)"):
        metadip.show(torch.cat([X, X]))


def test_pyplot_keeps_no_figure():
    from matplotlib import pyplot as plt

    open_before = plt.get_fignums()
    figure = metadip.show(torch.rand(1, 1, 8, 8))
    assert plt.get_fignums() == open_before
    assert not hasattr(figure, "number")  # what pyplot gives to those that it manages
