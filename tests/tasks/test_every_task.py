"""Tasks: seeds, noise levels, scales, refusals, and their YAML files."""

import inspect
from collections.abc import Callable
from pathlib import Path

import deepinv.physics
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from metadip.physics import GaussianSensing, Magnitude, StructuredSensing
from metadip.tasks import TASKS as TASKS_BY_NAME
from metadip.tasks import (
    CompressiveSensingTask,
    DeblurringTask,
    DemosaickingTask,
    DenoisingTask,
    InpaintingTask,
    PhaseRetrievalTask,
    SinglePixelTask,
    SuperResolutionTask,
    TomographyTask,
)
from metadip.types import InverseProblem, Task, UserError

GIB = 2**30
NAN, INF = float("nan"), float("inf")


def denoise(noise_std: object = 0.1, *, clip: bool = False) -> DenoisingTask:
    return DenoisingTask(noise_std, clip=clip)  # type: ignore[arg-type]


def cs(noise_std: object = 0.1, **changes: object) -> CompressiveSensingTask:
    arguments = {"ratio": 0.25, "operator": "structured", "max_bytes": GIB} | changes
    return CompressiveSensingTask(noise_std=noise_std, **arguments)  # type: ignore[arg-type]


def cpr(noise_std: object = 0.1, **changes: object) -> PhaseRetrievalTask:
    arguments = {"ratio": 1.0, "operator": "structured", "max_bytes": GIB} | changes
    return PhaseRetrievalTask(noise_std=noise_std, **arguments)  # type: ignore[arg-type]


def inpaint(noise_std: object = 0.1, ratio: object = 0.5) -> InpaintingTask:
    return InpaintingTask(ratio, noise_std=noise_std, per_channel=False)  # type: ignore[arg-type]


def sr(noise_std: object = 0.1, **changes: object) -> SuperResolutionTask:
    arguments = {"factor": 2, "kernel": "lanczos2"} | changes
    return SuperResolutionTask(noise_std=noise_std, **arguments)  # type: ignore[arg-type]


def deblur(noise_std: object = 0.1, **changes: object) -> DeblurringTask:
    arguments = {"kernel": "motion", "kernel_std_px": 1.0, "kernel_size_px": 7} | changes
    return DeblurringTask(noise_std=noise_std, **{"boundary": "circular"} | arguments)  # type: ignore[arg-type]


def ct(noise_std: object = 0.1) -> TomographyTask:
    return TomographyTask(5, noise_std=noise_std)  # type: ignore[arg-type]


def demosaick(noise_std: object = 0.1) -> DemosaickingTask:
    return DemosaickingTask("rggb", noise_std=noise_std)  # type: ignore[arg-type]


def spc(noise_std: object = 0.1) -> SinglePixelTask:
    return SinglePixelTask(0.5, patterns="random", noise_std=noise_std)  # type: ignore[arg-type]


TASKS: list[Callable[..., Task]] = [
    denoise, cs, cpr, inpaint, sr, deblur, ct, demosaick, spc
]  # fmt: skip
SAME_OPERATOR = (denoise, sr, ct, demosaick)  # whatever the seed
every_task = pytest.mark.parametrize("make", TASKS)


@pytest.fixture
def x() -> Tensor:
    return torch.rand((1, 3, 12, 16), generator=torch.Generator().manual_seed(0))


def noise_of(problem: InverseProblem) -> Tensor:
    assert problem.x is not None
    clean: Tensor = problem.physics.A(problem.x)
    return problem.y - clean


def level_of(problem: InverseProblem) -> float:
    """Return the noise level of a measurement, which is the one that the task was given."""
    return float(problem.physics.noise_model.sigma)


@every_task
def test_problem(make, x: Tensor) -> None:
    task: Task = make(0.1)
    problem = task.measure(x, seed=7, name="face")
    assert (problem.name, problem.seed, problem.image_shape) == ("face", 7, (3, 12, 16))
    assert problem.x is x
    assert problem.y.shape == problem.physics.A(x).shape
    assert isinstance(problem.physics.noise_model, deepinv.physics.GaussianNoise)
    assert level_of(problem) == pytest.approx(0.1)


@every_task
def test_seed_fixes_everything(make, x: Tensor) -> None:
    first, again, other = (make().measure(x, seed=seed) for seed in (3, 3, 4))
    torch.testing.assert_close(again.y, first.y, rtol=0, atol=0)
    assert not torch.allclose(other.y, first.y)
    clean = [problem.physics.A(x) for problem in (first, again, other)]
    torch.testing.assert_close(clean[1], clean[0], rtol=0, atol=0)
    assert torch.allclose(clean[2], clean[0]) == (make in SAME_OPERATOR)


@every_task
def test_level_scales_one_pattern(make, x: Tensor) -> None:
    weak, strong = (noise_of(make(std).measure(x, seed=3)) for std in (0.1, 0.3))
    torch.testing.assert_close(strong, 3 * weak, rtol=1e-4, atol=1e-5)
    assert noise_of(make(0.0).measure(x, seed=3)).abs().max() == 0


def test_noise_is_white_gaussian_and_not_clipped() -> None:
    x = torch.ones(1, 3, 100, 100)
    noise = noise_of(denoise(0.2).measure(x, seed=0)) / 0.2
    assert abs(noise.mean()) < 4 / noise.numel() ** 0.5
    assert noise.var().item() == pytest.approx(1, abs=4 * (2 / noise.numel()) ** 0.5)
    assert denoise(0.2).measure(x, seed=0).y.max() > 1.5
    clipped = denoise(0.2, clip=True).measure(x, seed=0).y
    torch.testing.assert_close(clipped, denoise(0.2).measure(x, seed=0).y.clamp(0, 1))


@every_task
def test_range_of_levels(make, x: Tensor) -> None:
    problems = [make([0.1, 0.3]).measure(x, seed=seed) for seed in range(60)]
    levels = torch.tensor([level_of(problem) for problem in problems])
    assert levels.min() >= 0.1
    assert levels.max() <= 0.3
    assert levels.min() < 0.13
    assert levels.max() > 0.27
    fixed = make(levels[5].item()).measure(x, seed=5)
    torch.testing.assert_close(fixed.y, problems[5].y)
    assert level_of(make((0.2, 0.2)).measure(x, seed=0)) == pytest.approx(0.2)


def test_magnitudes_are_those_of_the_linear_task(x: Tensor) -> None:
    problem = cpr(0.0).measure(x, seed=1)
    assert isinstance(problem.physics, Magnitude)
    torch.testing.assert_close(problem.y, problem.physics.B.A(x).abs())


def test_operator_and_noise_are_independent(x: Tensor) -> None:
    problem = cs(1.0, ratio=1.0, operator="gaussian").measure(x, seed=0)
    row = problem.physics.matrix[0] * problem.y.shape[1] ** 0.5
    noise = noise_of(problem)[0]
    correlation = (row * noise).mean()
    assert abs(correlation) < 4 / len(row) ** 0.5


@pytest.mark.parametrize(
    ("make", "ratio", "expected"),
    [(cs, 0.25, 144), (cs, 1e-6, 1), (cs, 1.0, 576), (cpr, 2.5, 1440), (cpr, 8, 4608)],
)
@pytest.mark.parametrize("operator", ["gaussian", "structured"])
def test_number_of_measurements(
    make, ratio: float, expected: int, operator: str, x: Tensor
) -> None:
    y = make(0.0, ratio=ratio, operator=operator).measure(x, seed=0).y
    assert y.shape == (1, expected)


def test_operator_choice(x: Tensor) -> None:
    n_bytes = 4 * 144 * 576
    dense = cs(operator="gaussian", max_bytes=n_bytes).measure(x, seed=0).physics
    assert isinstance(dense, GaussianSensing)
    assert isinstance(cs(max_bytes=2000).measure(x, seed=0).physics, StructuredSensing)
    with pytest.raises(UserError, match=r"a structured operator .* more than task\.max_bytes=1 "):
        cs(max_bytes=1).measure(x, seed=0)
    with pytest.raises(UserError, match=r"needs 332 kB.*use task\.operator=structured"):
        cs(operator="gaussian", max_bytes=n_bytes - 1).measure(x, seed=0)
    assert cs(operator="structured").measure(x, seed=0).physics.n_layers == 1
    assert cpr(operator="structured").measure(x, seed=0).physics.B.n_layers == 2


@every_task
def test_precision_follows_the_image(make, x: Tensor) -> None:
    double = make().measure(x.double(), seed=0)
    assert double.y.dtype == torch.float64
    torch.testing.assert_close(double.y.float(), make().measure(x, seed=0).y)


@every_task
def test_usable_for_gradients_when_made_in_inference_mode(make, x: Tensor) -> None:
    with torch.inference_mode():
        problem = make().measure(x.clone(), seed=0)
    image = torch.rand_like(x).requires_grad_()
    (problem.physics.A(image) - problem.y).square().sum().backward()
    assert image.grad is not None


@every_task
def test_global_random_state_is_left_alone(make, x: Tensor) -> None:
    before = torch.get_rng_state()
    make([0.1, 0.2]).measure(x, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@every_task
def test_same_on_gpu(make, x: Tensor) -> None:
    moved = make().measure(x.cuda(), seed=0)
    assert moved.y.is_cuda
    torch.testing.assert_close(moved.y.cpu(), make().measure(x, seed=0).y)


@every_task
@pytest.mark.parametrize(
    ("noise_std", "text"),
    [
        (-0.1, r"task\.noise_std=-0\.1 must satisfy 0 <= low <= high <= 1$"),
        (25, r"task\.noise_std=25 must satisfy .* 25/255 is 0\.098$"),
        ([0.3, 0.1], r"task\.noise_std=\[0\.3, 0\.1\] must satisfy 0 <= low <= high"),
        (NAN, r"task\.noise_std=nan must be a finite number from 0 to 1"),
        (INF, r"task\.noise_std=inf must be a finite number"),
        ([0.1, NAN], r"must be a finite number"),
        ([0.1, 0.2, 0.3], r"task\.noise_std=\[0\.1, 0\.2, 0\.3\] must be .* or two: \[low, high\]"),
        ([], r"must be a finite number"),
        ("strong", r"task\.noise_std='strong' must be"),
        (None, r"task\.noise_std=None must be"),
        (True, r"task\.noise_std=True must be"),
    ],
)
def test_bad_noise_level(make, noise_std: object, text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        make(noise_std)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "changes", "text"),
    [
        (
            cs,
            {"ratio": 0},
            r"task\.ratio=0 must be a number above 0 and at most 1, or two: \[low, high\]$",
        ),
        (cs, {"ratio": 1.5}, r"task\.ratio=1\.5 must be .* at most 1, or two: .*$"),
        (cs, {"ratio": NAN}, r"task\.ratio=nan must be"),
        (cs, {"ratio": "half"}, r"task\.ratio='half' must be"),
        (cpr, {"ratio": -1}, r"task\.ratio=-1 must be .* at most 8, or two: .*$"),
        (cpr, {"ratio": 8.5}, r"task\.ratio=8\.5 must be .* at most 8, or two: .*$"),
        (cs, {"operator": "gauss"}, r"task\.operator='gauss' .* gaussian, structured"),
        (cpr, {"operator": None}, r"task\.operator=None is unknown"),
        (cs, {"max_bytes": 0}, r"task\.max_bytes=0 must be a positive number of bytes"),
        (cpr, {"max_bytes": "1G"}, r"task\.max_bytes='1G' must be a positive number"),
    ],
)
def test_bad_sensing_arguments(make, changes: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        make(**changes)


@every_task
def test_bad_image(make, x: Tensor) -> None:
    for bad in (x[0], x[:0], (255 * x).byte()):
        with pytest.raises(
            ValueError, match=r"expected .*float images? \([1B], C, H, W\), got torch\."
        ):
            make().measure(bad, seed=0)


@pytest.mark.parametrize("name", TASKS_BY_NAME)
def test_yaml_builds_and_binds(name: str, repo: Path, x: Tensor) -> None:
    config = OmegaConf.load(repo / "conf" / "task" / f"{name}.yaml")
    task = instantiate(config)
    keys = [key for key in config if not str(key).startswith("_")]
    signature = inspect.signature(type(task)).parameters
    assert keys == list(signature)
    assert list(config)[:2] == ["_target_", "_convert_"]
    content = OmegaConf.to_container(config)
    assert isinstance(content, dict)
    for key, parameter in signature.items():
        assert parameter.default in (inspect.Parameter.empty, content[key])
    assert task.measure(x, seed=0).y.isfinite().all()
    if "noise_std" in config:
        config.noise_std = [0.0, 0.2]
        assert instantiate(config).measure(x, seed=0).y.isfinite().all()


@pytest.mark.parametrize(("name", "size"), [("cs", 151), ("cpr", 604)])
def test_default_is_dense_at_64_px(name: str, size: int, repo: Path) -> None:
    task = instantiate(OmegaConf.load(repo / "conf" / "task" / f"{name}.yaml"))
    n = 3 * 64 * 64
    n_bytes = 4 * n * round(task.ratio * n)
    assert round(n_bytes / 1e6) == size
    assert n_bytes <= task.max_bytes
