"""A network that corrects the image that agrees with the measurement."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from metadip import registry
from metadip.callbacks import Converged
from metadip.fitting import Execution, MomentumSGD, fit
from metadip.fitting.step import refreshed, starts_of
from metadip.physics.linearised import constant_fit, correction, coverage, smooth_fit
from metadip.priors import BackProjection, InformedNetwork, LatentNetwork, ResidualUNet
from metadip.tasks import DenoisingTask, InpaintingTask, PhaseRetrievalTask
from metadip.types import Estimate, InverseProblem, Start
from tests.fitting.tiny import EXACT, MSE, SAME, assert_same, image, noisy, sensed

NOTHING = MomentumSGD(lr=0.1, momentum=0.5, n_steps=1, names=())


def network(in_channels: int, seed: int = 0) -> ResidualUNet:
    """Return a network whose corrections are not zero."""
    built = ResidualUNet(in_channels, out_channels=3, channels=[4, 6])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in built.parameters():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return built


@cache
def prior(in_channels: int = 13) -> InformedNetwork:
    made = InformedNetwork(
        network(in_channels), n_steps=3, iterations=4, smoothness=0.1, learned=True
    )
    with torch.no_grad():
        made.log_eta.copy_(torch.tensor([0.0, 0.2, -0.1]))
    return made.requires_grad_(False)


@cache
def with_denoiser() -> InformedNetwork:
    made = InformedNetwork(
        network(13), n_steps=3, iterations=4, smoothness=0.1, denoiser=network(3, 5), learned=True
    )
    return made.requires_grad_(False)


def first(problem: InverseProblem, of: InformedNetwork | None = None) -> Tensor:
    """Return x_0."""
    return fit([problem], of or prior(), MSE, NOTHING, steps=0)[0].x_hat


def masked() -> InverseProblem:
    """Return an inpainting problem."""
    return InpaintingTask(0.5, noise_std=0.0, per_channel=False).measure(image(4), seed=0)


def test_takes_the_steps_of_its_model():
    problem = sensed(0, 30, (3, 4, 6))
    made = InformedNetwork(
        network(13).double(), n_steps=2, iterations=4, smoothness=0.1, learned=True
    ).double()
    with torch.no_grad():
        made.log_eta.copy_(torch.tensor([0.3, -0.2]))
    constant = constant_fit(problem)
    x, w = smooth_fit(problem, constant, smoothness=0.1), coverage(problem, constant)
    for k, eta in enumerate(torch.tensor([0.3, -0.2, -0.2]).double().exp()):
        found = correction(problem, x, iterations=4)
        s = (found.residual.norm() / 72**0.5).expand(1, 1, 4, 6)
        maps = (x + eta * found.steepest, x, x + found.full, s, w)
        seen = torch.cat(maps, dim=1)
        x = (made.network(seen.flip(-1)).flip(-1) if k == 1 else made.network(seen)).detach()
    (result,) = fit([problem], made, MSE, NOTHING, steps=2)
    torch.testing.assert_close(result.x_hat, x)
    assert result.end is not None
    torch.testing.assert_close(dict(result.end.weights), {
        name: p.detach() for name, p in made.weights.items()
    })  # fmt: skip


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_number_of_channels_and_any_size(channels: int):
    problem = noisy(1, (channels, 9, 13))
    assert prior().with_channels(channels) is prior()
    (result,) = fit([problem], prior(), MSE, NOTHING, steps=2)
    assert result.x_hat.shape == (1, channels, 9, 13)
    assert not torch.equal(result.x_hat, problem.y)


def test_channels_other_than_three_are_seen_as_grey_images():
    problem = noisy(2, (2, 8, 8))
    grey = first(replace(problem, y=problem.y[:, 1:], image_shape=(1, 8, 8)), prior(3))
    torch.testing.assert_close(first(problem, prior(3))[:, 1:], grey, **SAME)
    three = problem.y[:, 1:].expand(-1, 3, -1, -1)
    whole = first(replace(problem, y=three, image_shape=(3, 8, 8)), prior(3))
    torch.testing.assert_close(grey, whole.mean(dim=1, keepdim=True), **SAME)


def test_brightness_does_not_matter():
    task = InpaintingTask(0.5, noise_std=0.05, per_channel=False)
    problem = task.measure(image(3), seed=0)
    bright = replace(problem, y=7 * problem.y)
    ours, theirs = (fit([p], prior(), MSE, NOTHING, steps=3)[0].x_hat for p in (bright, problem))
    torch.testing.assert_close(ours, 7 * theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("of", [prior, with_denoiser])
def test_images_are_independent(of: Callable[[], InformedNetwork]):
    problems = [noisy(seed) for seed in range(3)]
    task = InpaintingTask(0.5, noise_std=0.0, per_channel=False)
    problems.append(task.measure(image(9), seed=0))
    alone = [fit([p], of(), MSE, NOTHING, steps=3)[0] for p in problems]
    for stacked in (False, True):
        execution = Execution(stacked=stacked)
        together = fit(problems, of(), MSE, NOTHING, steps=3, execution=execution)
        assert_same(together, alone, **(SAME if stacked else EXACT))


def test_tiles_make_no_difference():
    problem = noisy(6, (3, 50, 41))
    tiled, whole = (
        fit([problem], prior(), MSE, NOTHING, steps=2, execution=Execution(tile_px=px))[0].x_hat
        for px in (16, 0)
    )
    torch.testing.assert_close(tiled, whole, **SAME)


def test_all_weights_can_be_moved_where_the_denoiser_alone_is_used():
    rule = MomentumSGD(lr=0.05, momentum=0.5, n_steps=1, names=("*",))
    for stacked in (False, True):
        results = fit(
            [noisy(4), noisy(5)], with_denoiser(), MSE, rule, steps=2,
            execution=Execution(stacked=stacked),
        )  # fmt: skip
        start, end = with_denoiser().weights, results[1].end
        assert end is not None
        moved = {name.split(".")[0] for name, t in end.weights.items() if not t.equal(start[name])}
        assert moved == {"denoiser"}


def test_weights_that_a_rule_moves_are_moved():
    rule = MomentumSGD(lr=0.05, momentum=0.5, n_steps=1, names=("network.tail.*",))
    (result,) = fit([noisy(4)], prior(), MSE, rule, steps=3)
    assert result.end is not None
    changed = [n for n, t in prior().weights.items() if not torch.equal(t, result.end.weights[n])]
    assert changed == ["network.tail.weight"]


@pytest.mark.parametrize("own", [None, network(3, seed=9)], ids=["no denoiser", "a denoiser"])
def test_begins_as_the_denoiser_that_it_adopts(own: ResidualUNet | None):
    denoiser = LatentNetwork(network(3, seed=5), BackProjection(3), learned=True)
    made = InformedNetwork(
        network(13), n_steps=2, iterations=2, smoothness=0.1, denoiser=own, learned=True
    )
    made.adopt(denoiser)
    problem = DenoisingTask(0.1, clip=False).measure(image(5), seed=1)
    torch.testing.assert_close(
        first(problem, made), denoiser.network(problem.y).detach(), rtol=1e-4, atol=1e-5
    )
    name = "network.head.weight"
    torch.testing.assert_close(made.weights[name][:, :3], denoiser.weights[name])


def test_a_denoiser_sees_y_and_its_mirror_image_in_turn_and_ends_at_their_mean():
    problem, denoise = noisy(1, (3, 5, 7)), with_denoiser().denoiser
    assert denoise is not None
    as_is, mirrored = denoise(problem.y), denoise(problem.y.flip(-1)).flip(-1)
    x = [fit([problem], with_denoiser(), MSE, NOTHING, steps=k)[0].x_hat for k in range(4)]
    for found, wanted in zip(x, [as_is, mirrored] * 2, strict=True):
        torch.testing.assert_close(found, wanted, **SAME)
    (end,) = fit([problem], with_denoiser(), MSE, NOTHING, steps=9, hooks=[Converged(1e-6)])
    assert end.steps == 2
    torch.testing.assert_close(end.x_hat, (as_is + mirrored) / 2, **SAME)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_denoiser_takes_images_of_few_bits(precision: str):
    problem = noisy(1)
    half = replace(problem, y=problem.y.half())
    execution = Execution(precision=precision)
    (found,) = fit([half], with_denoiser(), MSE, NOTHING, steps=1, execution=execution)
    assert found.x_hat.dtype == torch.float32
    wanted = fit([problem], with_denoiser(), MSE, NOTHING, steps=1)[0].x_hat
    torch.testing.assert_close(found.x_hat, wanted, rtol=0.05, atol=0.05)


def test_a_denoiser_denoises_grey_images_and_nothing_else():
    grey = noisy(2, (1, 8, 8))
    three = replace(grey, y=grey.y.expand(-1, 3, -1, -1), image_shape=(3, 8, 8))
    one, whole = (first(problem, with_denoiser()) for problem in (grey, three))
    torch.testing.assert_close(one, whole.mean(dim=1, keepdim=True), **SAME)
    blurred = sensed(3, 30, (3, 4, 6))
    made = fit([blurred], with_denoiser().double(), MSE, NOTHING, steps=2)[0].x_hat
    without = InformedNetwork(
        network(13).double(), n_steps=3, iterations=4, smoothness=0.1, learned=True
    ).double()
    torch.testing.assert_close(made, fit([blurred], without, MSE, NOTHING, steps=2)[0].x_hat)
    with_denoiser().float()


def test_adopts_no_denoiser_that_it_has_no_place_for():
    made = InformedNetwork(network(13, 8), n_steps=3, iterations=4, smoothness=0.1, learned=True)
    made.adopt(with_denoiser())
    torch.testing.assert_close(first(masked(), made), first(masked(), with_denoiser()))


def test_adopts_another_informed_prior():
    longer = InformedNetwork(
        network(13, seed=1), n_steps=5, iterations=2, smoothness=0.1, learned=True
    )
    longer.adopt(prior())
    assert longer.log_eta.tolist() == pytest.approx([0.0, 0.2, -0.1, -0.1, -0.1])
    torch.testing.assert_close(dict(longer.weights), dict(prior().weights), **EXACT)
    blocks = ResidualUNet(13, out_channels=3, channels=[4, 6], blocks=2)
    deep = InformedNetwork(blocks, n_steps=3, iterations=4, smoothness=0.1, learned=True)
    deep.adopt(prior())
    torch.testing.assert_close(first(noisy(7), deep), first(noisy(7)))
    wide = ResidualUNet(13, out_channels=3, channels=[5, 6])
    with pytest.raises(ValueError, match="size mismatch"):
        InformedNetwork(wide, n_steps=1, iterations=1, smoothness=0.1).adopt(prior())


def test_no_gradient_passes_from_a_step_to_the_one_before():
    x = image(1).requires_grad_()
    inputs = prior().start(noisy(1)).inputs
    made = prior().refresh(inputs, Estimate(x), noisy(1), 0)
    assert not any(tensor.requires_grad for tensor in made.values())


def test_an_untrained_one_draws_its_weights_from_the_seed_and_corrects_nothing_yet():
    untrained = InformedNetwork(network(13), n_steps=1, iterations=1, smoothness=0.1)
    one, same, other = (untrained.start(replace(noisy(1), seed=s)).weights for s in (3, 3, 4))
    name = "network.head.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])
    torch.testing.assert_close(first(noisy(1), untrained), noisy(1).y)


@pytest.mark.parametrize("of", [prior, with_denoiser])
def test_is_built_from_its_description(of: Callable[[], InformedNetwork]):
    built = registry.build("prior", of().description, learned=True)
    assert isinstance(built, InformedNetwork)
    assert built.description == of().description
    assert set(built.weights) == set(of().weights)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n_steps": 0}, "n_steps"),
        ({"iterations": 0}, "iterations"),
        ({"smoothness": -1.0}, "smoothness must be at least 0, got -1"),
        ({"network": ResidualUNet(6, out_channels=3, channels=[4])}, "3 of 6"),
        ({"network": ResidualUNet(13, out_channels=1, channels=[4])}, "1 of 13"),
        ({"denoiser": ResidualUNet(4, out_channels=3, channels=[4])}, "denoiser must .* 3 of 4"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], text: str):
    arguments: dict[str, Any] = {"network": network(13), "n_steps": 1, "iterations": 1}
    arguments["smoothness"] = 0.1
    with pytest.raises(ValueError, match=text):
        InformedNetwork(**{**arguments, **change})


def test_images_of_one_operator_together_as_one_by_one(monkeypatch: pytest.MonkeyPatch):
    shape = (3, 4, 6)
    masks = InpaintingTask(0.5, noise_std=[0.0, 0.1], per_channel=False)
    magnitudes = PhaseRetrievalTask(2.0, noise_std=0.0, operator="gaussian", max_bytes=2**20)
    a = masks.measure(torch.cat([image(seed, shape) for seed in range(3)]), seed=1).apart()
    b = magnitudes.measure(torch.cat([image(seed, shape) for seed in (5, 6)]), seed=2).apart()
    problems = [a[0], noisy(3, shape), b[0], a[1], b[1], a[2]]
    made, asked = Estimate(torch.cat([image(seed, shape) for seed in range(10, 16)])), []
    start = InformedNetwork.start

    def watched(self: InformedNetwork, problem: InverseProblem) -> Start:
        asked.append(problem.n_images)
        return start(self, problem)

    monkeypatch.setattr(InformedNetwork, "start", watched)
    starts = starts_of(prior(), problems)
    assert asked == [3, 1, 2]
    inputs = {name: torch.cat([s.inputs[name] for s in starts]) for name in starts[0].inputs}
    later = refreshed(prior(), inputs, made, problems, 0)
    for row, problem in enumerate(problems):
        own = start(prior(), problem).inputs
        alone = prior().refresh(own, Estimate(made.x[row : row + 1]), problem, 0)
        for name in own:
            torch.testing.assert_close(inputs[name][row : row + 1], own[name], **SAME)
            torch.testing.assert_close(later[name][row : row + 1], alone[name], **SAME)
