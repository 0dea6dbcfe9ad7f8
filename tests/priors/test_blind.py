"""An image and its blur kernel at once: what moves, what is found, alone and together."""

from typing import Any

import pytest
import torch
from deepinv.physics import Blur
from torch import Tensor

from metadip import registry
from metadip.fitting import Adam, ByGroup, Execution, Sum, fit, mse
from metadip.priors import (
    AutoSequential,
    ImageAndKernel,
    KernelMLP,
    Latent,
    LatentNetwork,
    SkipUNet,
)
from metadip.types import FitResult, InverseProblem

MSE = Sum(mse)
FLAT = torch.full((1, 1, 5, 5), 1 / 25)
GROUPS = ByGroup({"kernel.*": Adam(lr=1e-3), "*": Adam(lr=1e-2)})


def scene() -> Tensor:
    """Return a grey image of a few flat pieces."""
    x = torch.full((1, 1, 24, 24), 0.2)
    x[..., 4:12, 5:14], x[..., 14:21, 10:20] = 0.9, 0.6
    x[..., 8:18, 16:19], x[..., 16:20, 3:6] = 1.0, 0.0
    return x


def motion() -> Tensor:
    """Return the kernel of a motion along the diagonal that turns a little."""
    k = torch.eye(5)
    k[2, 3] = k[3, 4] = 0.5
    return (k / k.sum())[None, None]


def prior(width: int = 200) -> ImageAndKernel:
    network = SkipUNet(8, out_channels=1, channels=[16, 16], skip_channels=[4, 4])
    image = LatentNetwork(network, Latent(8, size_px=24, n_wavelengths=0))
    return ImageAndKernel(image, KernelMLP(5, inputs=200, width=width))


def blurred(n: int, *, double: bool = False) -> list[InverseProblem]:
    """Return problems that share one operator, which does not know the kernel."""
    y, physics = Blur(filter=motion()).A(scene()), Blur(filter=FLAT)
    if double:
        y, physics = y.double(), physics.double()
    return [InverseProblem(y, physics, (1, 24, 24), seed=seed) for seed in range(n)]


def run(
    problems: list[InverseProblem],
    optimizer: Any,
    *,
    steps: int,
    stacked: bool,
    double: bool = False,
) -> list[FitResult]:
    made = prior().double() if double else prior()
    return fit(problems, made, MSE, optimizer, steps=steps, execution=Execution(stacked=stacked))


def distance(k: Tensor) -> float:
    """Return how far a kernel is from the true one, at the best shift."""
    ours, true = (torch.nn.functional.pad(kernel, (2, 2, 2, 2)) for kernel in (k, motion()))
    shifts = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    return min(float((torch.roll(ours, s, (-2, -1)) - true).norm()) for s in shifts)


def test_image_and_kernel_are_found():
    """With six seeds the kernel came to 0.23 to 0.54 of the distance of the flat one."""
    problems = blurred(1)
    for result in run(problems, GROUPS, steps=300, stacked=False):
        curve = result.curves["loss"]
        assert curve[-1] < 0.01 * curve[0]
        assert result.estimate is not None
        k = result.estimate.operator["filter"]
        assert k.shape == (1, 1, 5, 5)
        assert (k >= 0).all()
        torch.testing.assert_close(k.sum(), torch.tensor(1.0))
        assert distance(k) < 0.75 * distance(FLAT)
        assert not k.requires_grad
    assert torch.equal(problems[0].physics.filter, FLAT)


def test_names_are_those_of_the_parameters_and_both_parts_get_their_inputs():
    made, problem = prior(), blurred(1)[0]
    start = made.start(problem)
    parameters = [name for name, _ in made.named_parameters() if "latent" not in name]
    assert list(start.weights) == list(made.weights) == parameters
    assert {name: tuple(t.shape) for name, t in start.inputs.items()} == {
        "z": (1, 8, 24, 24),
        "kernel_z": (1, 200),
    }
    again, other = made.start(problem), made.start(blurred(2)[1])
    for ours, same, different in zip(start, again, other, strict=True):
        assert all(torch.equal(tensor, same[name]) for name, tensor in ours.items())
        names = [name for name in ours if name.endswith("z") or "layers.0" in name]
        assert names
        assert not any(torch.equal(ours[name], different[name]) for name in names)


@pytest.mark.parametrize("part", ["kernel", "image"])
def test_only_the_group_that_is_named_moves(part: str):
    problem = blurred(1)[0]
    (result,) = run([problem], ByGroup({f"{part}.*": Adam(lr=1e-2)}), steps=3, stacked=False)
    assert result.end is not None
    before, after = prior().start(problem).weights, result.end.weights
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert {name.partition(".")[0] for name in moved} == {part}


def test_images_together_are_as_each_alone():
    problems = blurred(3, double=True)
    both = (run(problems, GROUPS, steps=8, stacked=s, double=True) for s in (False, True))
    for alone, together in zip(*both, strict=True):
        assert alone.estimate is not None
        assert together.estimate is not None
        kernels = (r.estimate.operator["filter"] for r in (alone, together))
        torch.testing.assert_close(*kernels, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(alone.x_hat, together.x_hat, rtol=1e-6, atol=1e-9)


def test_a_learned_start_is_kept():
    source, problem = prior(), blurred(1)[0]
    weights = {name: tensor + 0.1 for name, tensor in source.weights.items()}
    start = source.with_weights(weights).start(problem)
    assert all(torch.equal(start.weights[name], tensor) for name, tensor in weights.items())
    assert not source.learned
    assert not source.image.learned


def test_colours_share_a_kernel():
    colour = prior().with_channels(3)
    estimate = colour((8, 8), z=torch.zeros(2, 8, 8, 8), kernel_z=torch.zeros(2, 200))
    assert estimate.x.shape == (2, 3, 8, 8)
    assert estimate.operator["filter"].shape == (2, 1, 5, 5)
    assert colour.with_channels(3) is colour


def test_inputs_of_the_image_are_refreshed():
    network = SkipUNet(1, out_channels=1, channels=[4], skip_channels=[2])
    made = ImageAndKernel(AutoSequential(network, every=1), KernelMLP(5, inputs=4, width=8))
    assert made.refreshes
    assert not prior().refreshes
    inputs = {"z": torch.zeros(1, 1, 8, 8), "kernel_z": torch.rand(1, 4)}
    estimate = made((8, 8), **inputs)
    after = made.refresh(inputs, estimate, blurred(1)[0], step=0)
    assert torch.equal(after["z"], estimate.x)
    assert after["kernel_z"] is inputs["kernel_z"]


def test_description_rebuilds_both_parts():
    made = prior(width=7)
    again = registry.build("representation", made.description)
    assert again.description == made.description
    shapes = [[tuple(p.shape) for p in module.parameters()] for module in (made, again)]
    assert shapes[0] == shapes[1]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="must be at least 1, got 5, 0 and 1000"):
        KernelMLP(5, inputs=0)
