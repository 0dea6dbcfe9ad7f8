"""Image and outliers: what starts, what moves, two steps by hand; and plain gradient descent."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metadip import config, registry
from metadip.fitting import SGD, ByGroup, Execution, Group, fit
from metadip.priors import LatentNetwork, Representation, WithOutliers
from metadip.types import Estimate, InverseProblem, Named
from tests.fitting.tiny import MSE, noisy, sensed, tiny_prior

RULES = ByGroup(
    {
        "weights": Group(["*"], SGD(lr=1.0, momentum=0.0)),
        "outliers": Group(["inputs.[gh]"], SGD(lr=500.0, momentum=0.0)),
    }
)


def test_g_and_h_start_small_from_the_seed_and_have_the_shape_of_y():
    prior = WithOutliers(tiny_prior(channels=2), init_std=1e-5)
    problem = sensed(1, 2000, (2, 8, 8))
    weights, inputs = prior.start(problem)
    assert list(weights) == list(prior.weights)
    assert set(inputs) == {"z", "g", "h"}
    again, other = prior.start(problem), prior.start(replace(problem, seed=2))
    for name in ("g", "h"):
        assert inputs[name].shape == problem.y.shape
        assert inputs[name].dtype == problem.y.dtype
        assert torch.equal(inputs[name], again.inputs[name])
        assert not torch.equal(inputs[name], other.inputs[name])
        assert abs(inputs[name].std() / 1e-5 - 1) < 0.08
    assert abs((inputs["g"] * inputs["h"]).mean()) < 0.12 * 1e-10


def test_no_draw_repeats_that_of_the_latent():
    prior = WithOutliers(tiny_prior(learned=False), init_std=1.0)
    problem = noisy(3)
    _, inputs = prior.start(problem)
    uniform = torch.special.ndtr(inputs["g"]).flatten()
    correlation = torch.corrcoef(torch.stack([uniform, inputs["z"].flatten()[: len(uniform)]]))
    assert abs(correlation[0, 1]) < 0.3  # five standard deviations of 192 values would be 0.36
    assert torch.equal(inputs["z"], tiny_prior(learned=False).start(problem).inputs["z"])


def salted(seed: int) -> InverseProblem:
    problem = noisy(seed)
    y = problem.y.clone()
    y[..., 2, 3], y[..., 5, 1] = 1.0, 0.0
    return replace(problem, y=y)


@pytest.mark.parametrize("stacked", [False, True], ids=["looped", "stacked"])
def test_two_steps_by_hand(stacked: bool):
    """With g and h of a size that shows, by autograd on the loss of the paper."""
    prior = WithOutliers(tiny_prior(), init_std=0.1)
    problems = [salted(0), salted(1)]
    rules = ByGroup({"*": SGD(lr=0.3, momentum=0.0), "inputs.[gh]": SGD(lr=5.0, momentum=0.0)})
    results = fit(problems, prior, MSE, rules, steps=2, execution=Execution(stacked=stacked))
    for problem, result in zip(problems, results, strict=True):
        start, network = prior.start(problem), copy.deepcopy(tiny_prior().network)
        z, *factors = (start.inputs[name].clone() for name in ("z", "g", "h"))
        g, h = (f.requires_grad_() for f in factors)
        theta = list(network.parameters())
        for _ in range(2):
            residual = network(z) + g * g - h * h - problem.y
            grads = torch.autograd.grad(residual.square().mean(), [*theta, g, h])
            with torch.no_grad():
                for param, grad in zip([*theta, g, h], grads, strict=True):
                    param -= (5.0 if param is g or param is h else 0.3) * grad
        assert result.end is not None
        expected = {"g": g.detach(), "h": h.detach()}
        for name, tensor in expected.items():
            torch.testing.assert_close(result.end.inputs[name], tensor, rtol=1e-3, atol=1e-4)
            assert not torch.allclose(tensor, start.inputs[name])
        assert torch.equal(result.end.inputs["z"], z)
        torch.testing.assert_close(result.x_hat, network(z).detach(), rtol=1e-3, atol=1e-4)
        assert result.estimate is not None
        outliers = (g * g - h * h).detach()
        torch.testing.assert_close(
            result.estimate.other["outliers"], outliers, rtol=1e-3, atol=1e-4
        )


def test_the_preset_is_that_of_the_authors():
    cfg = config.compose("infer", ["method=dop"])
    prior, rules = config.build(cfg.prior), config.build(cfg.optimizer)
    assert sum(w.numel() for w in prior.weights.values()) == 2_217_831  # of the deep image prior
    names, _ = rules.bind(prior.start(noisy(0)))
    assert set(names) == {*prior.weights, "inputs.g", "inputs.h"}
    assert [group.rule.lr for group in rules.groups] == [1.0, 500.0]
    assert config.build(cfg.callbacks.jitter).std == pytest.approx(1 / 30, rel=1e-5)
    assert (prior.init_std, cfg.method.steps) == (1e-5, 150_000)


def test_the_image_is_the_network_of_the_deep_image_prior():
    cfg = config.compose("infer", ["method=dop"])
    plain = config.compose("infer", ["prior=skip_unet"])
    assert config.plain(cfg.prior.image) == config.plain(plain.prior)


def test_channels_weights_and_description_are_those_of_the_image():
    prior = WithOutliers(tiny_prior(learned=False), init_std=0.2)
    twin = registry.build("prior", prior.description)
    assert twin.description == prior.description
    assert prior.with_channels(1).image_channels == 1
    weights = {name: torch.zeros_like(w) for name, w in prior.weights.items()}
    learned = prior.with_weights(weights)
    assert (learned.learned, prior.learned, prior.image.learned) == (True, False, False)
    assert all(not w.any() for w in learned.start(noisy(0)).weights.values())


class Feedback(LatentNetwork):
    """Its own mean becomes the latent of the next step."""

    def refresh(
        self, inputs: Named, estimate: Estimate, problem: InverseProblem, step: int
    ) -> Named:
        return {"z": torch.full_like(inputs["z"], float(estimate.x.mean()))}


def test_the_image_may_change_its_inputs():
    plain = tiny_prior()
    image: Representation = Feedback(plain.network, plain.latent, learned=True)
    (result,) = fit([noisy(0)], WithOutliers(image), MSE, RULES, steps=1)
    assert WithOutliers(image).refreshes
    assert not WithOutliers(plain).refreshes
    assert result.end is not None
    z = result.end.inputs["z"]
    assert torch.equal(z, torch.full_like(z, float(z.flatten()[0])))
    g = result.end.inputs["g"]
    assert not torch.equal(g, WithOutliers(image).start(noisy(0)).inputs["g"])


def test_what_has_no_outliers_is_refused():
    problem = noisy(0)
    with pytest.raises(ValueError, match="of real measurements, and these are complex"):
        WithOutliers(tiny_prior()).start(replace(problem, y=problem.y.to(torch.complex64)))
    with pytest.raises(ValueError, match="init_std must be above 0, got 0"):
        WithOutliers(tiny_prior(), init_std=0)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_gradient_descent_is_that_of_torch(momentum: float):
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(2, 3, generator=generator) for _ in range(5)]
    rule = SGD(lr=0.3, momentum=momentum)
    params: tuple[Tensor, ...] = (draws[0],)
    leaf = draws[0].clone().requires_grad_()
    optimizer, state = torch.optim.SGD([leaf], lr=0.3, momentum=momentum), rule.init(params)
    assert len(state) == rule.slots == (1 if momentum else 0)
    for step, grad in enumerate(draws[1:]):
        params, state = rule.update(params, (grad,), state, step)
        leaf.grad = grad.clone()
        optimizer.step()
    torch.testing.assert_close(params[0], leaf.detach())
    twin = registry.build("rule", registry.describe(rule))
    assert (twin.lr, twin.momentum) == (0.3, momentum)


@pytest.mark.parametrize(("lr", "momentum"), [(0.0, 0.0), (1.0, 1.0), (1.0, -0.1)])
def test_bad_descent_is_refused(lr: float, momentum: float):
    with pytest.raises(ValueError, match=rf"got {lr} and {momentum}"):
        SGD(lr=lr, momentum=momentum)
