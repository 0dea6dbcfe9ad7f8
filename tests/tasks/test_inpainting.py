"""Inpainting: the mask, its scale, what a user sees, and measurement files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metadip.report.figures import comparison_panels, save_image
from metadip.tasks import DenoisingTask, InpaintingTask, load_measurement, save_measurement
from metadip.tasks.masks import DRAWN, random_mask
from metadip.types import InverseProblem, UserError

SHAPE = (3, 5, 6)
TASK = InpaintingTask(0.5, noise_std=0.1, per_channel=False)
every_suffix = pytest.mark.parametrize("suffix", [".pt", ".npz"])


def picture(*shape: int) -> Tensor:
    return torch.rand((1, *(shape or SHAPE)), generator=torch.Generator().manual_seed(0)) + 0.1


def measured(ratio: float = 0.5, noise_std: float = 0.0, **changes: Any) -> InverseProblem:
    x = changes.pop("x", picture())
    arguments = {"per_channel": False, "seed": 3} | changes
    task = InpaintingTask(ratio, noise_std=noise_std, per_channel=arguments["per_channel"])
    return task.measure(x, seed=arguments["seed"])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kept(problem: InverseProblem) -> Tensor:
    return problem.y != 0


def test_measures_what_denoising_would_where_pixels_are_kept() -> None:
    x = picture()
    noisy = DenoisingTask(0.1, clip=False).measure(x, seed=3).y
    problem = measured(noise_std=0.1)
    torch.testing.assert_close(problem.y, noisy * kept(problem))
    torch.testing.assert_close(measured(1.0, noise_std=0.1).y, noisy, rtol=0, atol=0)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("per_channel", [False, True])
def test_scale_keeps_energy(ratio: float, per_channel: bool) -> None:
    problem = measured(ratio, per_channel=per_channel)
    mask = problem.physics.A(torch.ones(1, *SHAPE))  # the diagonal of A
    assert (problem.scale * mask).square().sum().item() == pytest.approx(90, rel=1e-5)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert set(problem.physics.mask.unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(problem.physics.A_adjoint(mask), mask.square())


def test_step_is_that_of_denoising_on_average() -> None:
    x = picture(1, 4, 4)
    problems = [measured(0.5, x=x, seed=s) for s in range(600)]
    steps = [p.scale**2 * p.physics.A_adjoint(p.y) for p in problems]
    torch.testing.assert_close(torch.cat(steps).mean(0), x[0], rtol=0.2, atol=0)


def test_ratio_is_the_share_that_is_kept() -> None:
    few, many = (random_mask((1, 100, 100), r, seeded(1)) for r in (0.3, 0.6))
    for mask, ratio in ((few, 0.3), (many, 0.6)):
        assert mask.mean().item() == pytest.approx(ratio, abs=4 * (0.25 / 10000) ** 0.5)
    assert bool((many >= few).all())
    assert random_mask((1, 3, 3), 1e-9, seeded(0)).sum() == 1
    assert random_mask((1, 50, 50), 1.0, seeded(0)).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels_share_the_mask_or_not(channels: int) -> None:
    x = picture(channels, 9, 8)
    shared, own = (kept(measured(x=x, per_channel=per_channel))[0] for per_channel in (False, True))
    assert bool((shared == shared[:1]).all())
    assert bool((own == own[:1]).all()) == (channels == 1)


def test_vmap() -> None:
    problem = measured()
    images = torch.rand(4, 1, *SHAPE)
    expected = problem.physics.A(images[:, 0])
    torch.testing.assert_close(torch.func.vmap(problem.physics.A)(images)[:, 0], expected)


def test_picture_shows_the_image_as_it_was_taken() -> None:
    problem = measured()
    assert problem.x is not None
    panels = comparison_panels(problem, problem.x)
    title, shown = panels[1]
    taken = problem.x * kept(problem)
    torch.testing.assert_close(shown, taken[0])
    psnr = -10 * (taken - problem.x).square().mean().log10().item()
    assert title == f"measured, {psnr:.2f} dB"


@every_suffix
@pytest.mark.parametrize("per_channel", [False, True])
def test_saved_problem_comes_back(per_channel: bool, suffix: str, tmp_path: Path) -> None:
    problem = measured(noise_std=0.1, per_channel=per_channel)
    assert problem.x is not None
    path = tmp_path / f"scan{suffix}"
    save_measurement(path, problem)
    loaded = load_measurement(path, TASK)
    torch.testing.assert_close(loaded.y, problem.y)
    torch.testing.assert_close(loaded.physics.mask, problem.physics.mask)
    assert loaded.scale == problem.scale
    sigma = problem.physics.noise_model.sigma
    torch.testing.assert_close(loaded.physics.noise_model.sigma, sigma)
    torch.testing.assert_close(loaded.x, problem.x)


def write(path: Path, **changes: Any) -> Path:
    mask = np.zeros(SHAPE[1:], dtype=np.uint8)
    mask[:2] = 1
    content = {"y": np.full(SHAPE, 0.7, dtype=np.float32), "mask": mask} | changes
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def test_file_of_a_user(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", noise_std=0.2)
    problem = load_measurement(path, TASK)
    expected = torch.zeros(1, *SHAPE)
    expected[:, :, :2] = 0.7  # what stands at lost pixels is not read
    torch.testing.assert_close(problem.y, expected)
    assert problem.scale == pytest.approx(2.5**0.5)  # 12 of 30 pixels
    assert problem.physics.mask.unique().tolist() == [0.0, 1.0]
    assert problem.physics.noise_model.sigma == pytest.approx(0.2)
    path = write(tmp_path / "b.npz", mask=np.ones(SHAPE, dtype=bool))
    again = load_measurement(path, TASK)
    assert again.scale == 1
    assert again.physics.noise_model.sigma == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mask": None}, r"mask is missing \(1 where a value of y was observed, 0 where it was"),
        ({"mask": np.ones((6, 5))}, r"y has shape \(3, 5, 6\), its mask \(1, 6, 5\): a mask needs"),
        ({"mask": "all"}, r"mask must have shape .*, got str"),
        ({"mask": np.full(SHAPE, 0.5)}, "mask must be 1 where a value of y was observed, 0"),
        ({"mask": np.full(SHAPE, np.nan)}, "mask must be 1 where a value of y was"),
        ({"mask": np.zeros(SHAPE)}, "and not all 0"),
        ({"y": np.ones((5, 6, 7))}, "y has 5 channels"),
    ],
)
def test_bad_file(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", **changes)
    with pytest.raises(UserError, match=text) as caught:
        load_measurement(path, TASK)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"ratio": 0},
            r"task\.ratio=0 must be a number above 0 and at most 1, or two: \[low, high\]$",
        ),
        ({"ratio": 1.1}, r"task\.ratio=1\.1 must be .* at most 1, or two: .*$"),
        ({"noise_std": 25}, r"task\.noise_std=25 must satisfy"),
        ({"per_channel": "no"}, r"task\.per_channel='no' must be true or false"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        InpaintingTask(**({"ratio": 0.5, "noise_std": 0.0, "per_channel": False} | changes))


def mask_image(path: Path, *, lost: slice = slice(2, 4)) -> Path:
    """Write a mask of SHAPE's size as an image whose lost rows are dark grey."""
    mask = torch.ones(1, *SHAPE[1:])
    mask[:, lost] = 0.2
    save_image(path, mask)
    return path


def test_mask_of_a_file(tmp_path: Path) -> None:
    path = mask_image(tmp_path / "m.png")
    np.savez(tmp_path / "m.npz", mask=np.tri(*SHAPE[1:]))
    x = picture()
    problem = masked(path).measure(x, seed=0)
    expected = x.clone()
    expected[:, :, 2:4] = 0
    torch.testing.assert_close(problem.y, expected)
    assert problem.scale == pytest.approx((5 / 3) ** 0.5)
    lower = masked(tmp_path / "m.npz").measure(x, seed=0)
    torch.testing.assert_close(lower.y, x.tril())


def masked(path: Path) -> InpaintingTask:
    return InpaintingTask(0.5, noise_std=0.0, per_channel=False, mask=str(path))


def test_masks_of_a_folder_by_name(tmp_path: Path) -> None:
    (tmp_path / "masks" / "more").mkdir(parents=True)
    mask_image(tmp_path / "masks" / "a.png", lost=slice(0, 1))
    mask_image(tmp_path / "masks" / "b.png", lost=slice(3, 5))
    task = masked(tmp_path / "masks")
    rows = [task.measure(picture(), seed=0, name=name).physics.mask[0, 0, :, 0] for name in "ab"]
    assert [row.tolist() for row in rows] == [[0, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    with pytest.raises(UserError, match=r"task\.mask=.*masks holds no mask of 'c'"):
        task.measure(picture(), seed=0, name="c")
    for folder in ("more", "less"):
        (tmp_path / "masks" / folder).mkdir(exist_ok=True)
        mask_image(tmp_path / "masks" / folder / "d.png", lost=slice(0, 2))
    with pytest.raises(UserError, match=r"holds several masks \(.*d\.png.*\) of 'd'"):
        task.measure(picture(), seed=0, name="d")
    for name in ("more__d", "less__d.png"):  # as images of one stem are named
        assert not task.measure(picture(), seed=0, name=name).physics.mask[0, 0, :2].any()


def test_a_damaged_image_file_and_its_mask(tmp_path: Path) -> None:
    save_image(tmp_path / "old.png", picture())
    problem = load_measurement(tmp_path / "old.png", masked(mask_image(tmp_path / "m.png")))
    assert not problem.y[:, :, 2:4].any()
    assert problem.y[:, :, :2].all()
    with pytest.raises(UserError, match=r"mask is missing \(1 where .* or give task\.mask=FILE\)"):
        load_measurement(tmp_path / "old.png", TASK)


def test_masks_of_another_size_or_of_nothing(tmp_path: Path) -> None:
    task = masked(mask_image(tmp_path / "m.png"))
    with pytest.raises(
        UserError, match=r"image 'cat' has shape \(3, 8, 8\), its mask \(1, 5, 6\): "
    ):
        task.measure(picture(3, 8, 8), seed=0, name="cat")
    with pytest.raises(UserError, match="the image has shape"):
        task.check_size((3, 8, 8))
    task.check_size(SHAPE)
    save_image(tmp_path / "black.png", torch.zeros(1, 5, 6))
    with pytest.raises(UserError, match="the mask loses every pixel: white is kept, black is lost"):
        masked(tmp_path / "black.png")
    with pytest.raises(UserError, match=r"no image file '.*gone\.png': check the path"):
        masked(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"task\.mask=holes is unknown; did you mean hole\?"):
        masked(Path("holes"))
    with pytest.raises(UserError, match=r"task\.per_channel=true goes with task\.mask=random, not"):
        InpaintingTask(0.5, noise_std=0.0, per_channel=True, mask="hole")


@pytest.mark.parametrize("name", ["hole", "text"])
def test_holes_and_text(name: str) -> None:
    masks = [DRAWN[name]((1, 60, 90), 0.75, seeded(seed)) for seed in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert set(masks[0].unique().tolist()) == {0.0, 1.0}
    lost = 1 - masks[0].mean().item()
    assert lost == pytest.approx(0.25, abs=0.01) if name == "hole" else 0.08 < lost < 0.35
    assert DRAWN[name]((1, 1, 1), 0.1, seeded(0)).any()


def test_a_hole_is_one_rectangle() -> None:
    mask = DRAWN["hole"]((1, 60, 90), 0.75, seeded(0))[0]
    rows, columns = (1 - mask).any(1).nonzero(), (1 - mask).any(0).nonzero()
    assert (len(rows), len(columns)) == (30, 45)
    assert rows[-1] - rows[0] == 29
    assert (1 - mask).sum() == 30 * 45
