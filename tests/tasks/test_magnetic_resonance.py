"""MRI: columns, coils, the complex unknown and its reading, files of scanners, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deepinv.physics import MRI, MultiCoilMRI
from torch import Tensor

from metadip.metrics import psnr_db
from metadip.physics.coils import coil_maps, column_mask, smooth_phase
from metadip.physics.noise_level import expected_noise_energy
from metadip.tasks import MagneticResonanceTask, load_measurement
from metadip.tasks.magnetic_resonance import magnitude
from metadip.types import InverseProblem, UserError

every_coils = pytest.mark.parametrize("coils", [1, 3])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(*shape: int) -> Tensor:
    return torch.rand((1, *shape), generator=seeded())


def measured(coils: int = 1, noise_std: float = 0.0, **changes: Any) -> InverseProblem:
    arguments: dict[str, Any] = {"acceleration": 2, "seed": 3, "x": picture(1, 12, 16)} | changes
    task = MagneticResonanceTask(arguments["acceleration"], coils=coils, noise_std=noise_std)
    return task.measure(arguments["x"], seed=arguments["seed"], name="knee")


@every_coils
def test_a_full_scan_gives_the_picture_back(coils: int) -> None:
    problem = measured(coils, acceleration=1)
    assert isinstance(problem.physics, MRI if coils == 1 else MultiCoilMRI)
    assert problem.image_shape == (2, 12, 16)
    assert problem.x is not None
    back = problem.physics.A_adjoint(problem.y)
    torch.testing.assert_close(problem.read(back), problem.x, rtol=0, atol=1e-5)
    assert back[:, 1].abs().max() > 0.1  # the object has a phase


@every_coils
def test_seeds_and_noise(coils: int) -> None:
    first, again, other = (measured(coils, 0.1, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.physics.mask, other.physics.mask)
    noise = first.y - measured(coils, 0.0).y
    mask = first.physics.mask.expand(first.y[:, :, 0].shape if coils > 1 else first.y.shape)
    mask = mask[:, :, None].expand(first.y.shape) if coils > 1 else mask
    assert not noise[mask == 0].any()
    assert noise[mask == 1].std().item() == pytest.approx(0.1, rel=0.15)
    energy = expected_noise_energy(first)
    assert energy is not None
    assert energy == pytest.approx(0.01 * mask.sum().item())


def test_colours_become_grey() -> None:
    x = picture(3, 8, 8)
    problem = measured(x=x)
    assert problem.x is not None
    torch.testing.assert_close(problem.x[0, 0], 0.299 * x[0, 0] + 0.587 * x[0, 1] + 0.114 * x[0, 2])
    assert measured(x=picture(4, 8, 8)).image_shape == (2, 8, 8)


def test_columns() -> None:
    masks = [
        column_mask(6, 320, acceleration=a, generator=seeded(s)) for a in (4, 8) for s in (0, 1)
    ]
    for mask, acceleration in zip(masks, (4, 4, 8, 8), strict=True):
        assert bool((mask == mask[:1]).all())
        low = round(0.32 * 320 / acceleration)
        assert mask[0, 160 - low // 2 + 1 : 160 + low // 2 - 1].all()
        assert mask[0].sum().item() == pytest.approx(320 / acceleration, rel=0.25)
    assert not torch.equal(masks[0], masks[1])
    assert column_mask(4, 5, acceleration=1, generator=seeded()).all()
    assert column_mask(4, 1, acceleration=16, generator=seeded()).all()
    drawn = [measured(acceleration=[1, 8], seed=s).physics.mask.mean().item() for s in range(20)]
    assert max(drawn) > 0.5 > 0.3 > min(drawn)


def test_coils_see_everything_together_and_are_smooth() -> None:
    maps = coil_maps(5, 40, 30)
    torch.testing.assert_close(maps.abs().square().sum(0), torch.ones(40, 30).double())
    assert (maps[:, 1:] - maps[:, :-1]).abs().max() < 0.2
    assert (maps.abs().amax((1, 2)) > 1.3 * maps.abs().amin((1, 2))).all()
    phase = smooth_phase(40, 30, generator=seeded())
    assert phase.abs().max() <= torch.pi / 2
    assert phase.std() > 0.1
    assert (phase[1:] - phase[:-1]).abs().max() < 0.2


def test_the_reading_is_cropped_and_matched() -> None:
    x = picture(1, 6, 8)
    field = torch.zeros(1, 2, 10, 12)
    field[:, :, 2:8, 2:10] = torch.cat([0.6 * (2 * x + 1), 0.8 * (2 * x + 1)], 1)
    torch.testing.assert_close(magnitude(field, x), x)
    assert magnitude(field, None).shape == (1, 1, 10, 12)
    assert magnitude(torch.zeros(1, 2, 6, 8), x).isfinite().all()
    problem = measured()
    assert problem.x is not None
    back = problem.physics.A_adjoint(problem.y)
    assert psnr_db(problem.read(back), problem.x) > psnr_db(problem.read(back).flip(-1), problem.x)


def scan(folder: Path, problem: InverseProblem, **changes: Any) -> Path:
    """Write a problem as a scanner would, complex and without anything but the k-space."""
    kspace = torch.view_as_complex(problem.y[0].movedim(0, -1).contiguous())
    content: dict[str, Any] = {"y": kspace.numpy(), **changes}
    np.savez(folder / "scan.npz", **content)
    return folder / "scan.npz"


@every_coils
def test_a_complex_scan(coils: int, tmp_path: Path) -> None:
    problem = measured(coils)
    extra = {"coil_maps": 2 * problem.physics.coil_maps[0]} if coils > 1 else {}
    task = MagneticResonanceTask(8, coils=1, noise_std=0.1)
    found = load_measurement(scan(tmp_path, problem, **extra), task)
    torch.testing.assert_close(found.y, problem.y)
    torch.testing.assert_close(found.physics.mask, problem.physics.mask)
    assert found.scale == pytest.approx(0.5 if coils > 1 else 1)
    assert found.image_shape == problem.image_shape
    columns = np.asarray(problem.physics.mask[0, 0, 0])
    with_columns = load_measurement(scan(tmp_path, problem, mask=columns, **extra), task)
    torch.testing.assert_close(with_columns.physics.mask, problem.physics.mask)


@pytest.mark.parametrize(
    ("coils", "changes", "text"),
    [
        (
            1,
            {"y": np.ones((3, 4), dtype=np.float32)},
            r"y must be the k-space, complex \(H, W\) or",
        ),
        (1, {"y": np.ones((3, 4, 5), dtype=np.float32)}, r"y must be the k-space"),
        (1, {"mask": np.ones((4, 4))}, r"mask must have the size of the k-space, \(12, 16\), got"),
        (1, {"mask": np.full((12, 16), 0.5)}, "mask must be 1 where the k-space was sampled"),
        (1, {"mask": np.zeros(16)}, "and not all 0"),
        (3, {}, r"coil_maps is missing \(sensitivities of the coils, complex \(coils, H, W\)"),
        (3, {"coil_maps": np.zeros((3, 12, 16), complex)}, "coil_maps are zero everywhere"),
        (3, {"coil_maps": np.ones((2, 12, 16), complex)}, r"have the shape \(3, 12, 16\) of the k"),
    ],
)
def test_bad_scan(coils: int, changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    task = MagneticResonanceTask(4, coils=1, noise_std=0.0)
    with pytest.raises(UserError, match=text) as caught:
        load_measurement(scan(tmp_path, measured(coils), **changes), task)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"acceleration": 0.5}, r"task\.acceleration=0\.5 must be at least 1"),
        ({"acceleration": 99}, r"task\.acceleration=99 must be a number above 0 and at most 16"),
        ({"coils": 0}, r"task\.coils=0 must be a whole number, 1 to 15"),
        ({"coils": 2.5}, r"task\.coils=2\.5 must be"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {"acceleration": 4, "coils": 1, "noise_std": 0.0} | changes
    with pytest.raises(UserError, match=text):
        MagneticResonanceTask(**arguments)
