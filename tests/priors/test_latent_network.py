"""Where a fit starts: learned weights as they are, untrained ones from the image's seed."""

from typing import Any

import pytest
import torch
from deepinv.physics import Denoising

from metadip.fitting import Adam, Sum, mse
from metadip.methods import FitReconstructor
from metadip.priors import BackProjection, Latent, LatentNetwork, SkipUNet, draw_weights
from metadip.seeding import Stream, generator_of
from metadip.types import InverseProblem


def problem(shape: tuple[int, int, int], *, seed: int) -> InverseProblem:
    return InverseProblem(torch.zeros(1, *shape), Denoising(), shape, seed=seed)


def prior(*, learned: bool, **latent: Any) -> LatentNetwork:
    network = SkipUNet(4, out_channels=3, channels=[6], skip_channels=[2])
    return LatentNetwork(
        network, Latent(4, **{"size_px": 8, "n_wavelengths": 0, **latent}), learned=learned
    )


def test_a_learned_prior_starts_from_what_is_stored():
    learned = prior(learned=True)
    weights, inputs = learned.start(problem((3, 12, 10), seed=1))
    other = learned.start(problem((3, 12, 10), seed=2))
    assert torch.equal(inputs["z"], learned.latent(12, 10))
    assert torch.equal(inputs["z"], other.inputs["z"])
    assert list(weights) == [f"network.{name}" for name, _ in learned.network.named_parameters()]
    for name, stored in learned.network.named_parameters():
        assert weights[f"network.{name}"] is stored
        assert other.weights[f"network.{name}"] is stored


def test_an_untrained_prior_draws_weights_and_latent_from_the_seed():
    untrained = prior(learned=False)
    noise, state = untrained.latent.noise.clone(), torch.get_rng_state()
    weights, inputs = untrained.start(problem((3, 12, 10), seed=1))
    again, inputs_again = untrained.start(problem((3, 12, 10), seed=1))
    other, other_inputs = untrained.start(problem((3, 12, 10), seed=2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(untrained.latent.noise, noise)
    assert torch.equal(inputs["z"], inputs_again["z"])
    assert not torch.equal(inputs["z"], other_inputs["z"])
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not torch.equal(weights["network.head.weight"], other["network.head.weight"])
    stored = dict(untrained.network.named_parameters())
    assert not torch.equal(weights["network.head.weight"], stored["head.weight"])


def test_untrained_noise_covers_the_image_without_repeating():
    z = prior(learned=False).start(problem((3, 16, 8), seed=1)).inputs["z"]
    assert not torch.equal(z[..., :8, :], z[..., 8:, :])


def test_the_wrong_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="the network takes 4 channels, the latent gives 8"):
        prior(learned=True, n_wavelengths=1)
    with pytest.raises(ValueError, match="makes images of 3 channels, asked for 1"):
        prior(learned=True).start(problem((1, 8, 8), seed=0))


def rows_of(prior: LatentNetwork) -> torch.Tensor:
    """Return weight and bias of the last layer, a row per channel."""
    head = prior.network.head
    assert isinstance(head, torch.nn.Conv2d)
    assert head.bias is not None
    return torch.cat([head.weight.flatten(1), head.bias[:, None]], dim=1).detach()


@pytest.mark.parametrize(
    ("channels", "mixture"),
    [
        (1, [[1 / 3, 1 / 3, 1 / 3]]),
        (2, [[1, 0, 0], [0, 0, 1]]),
        (4, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3]]),
    ],
)
def test_other_numbers_of_channels_adapt_the_last_layer_alone(
    channels: int, mixture: list[list[float]]
):
    colour = prior(learned=True, seed=5).double().requires_grad_(False)
    state = torch.get_rng_state()
    adapted = colour.with_channels(channels)
    assert torch.equal(torch.get_rng_state(), state)
    assert adapted.image_channels == channels
    assert adapted.learned
    torch.testing.assert_close(
        rows_of(adapted), torch.tensor(mixture, dtype=torch.float64) @ rows_of(colour)
    )
    old, new = (
        colour.start(problem((3, 9, 8), seed=0)),
        adapted.start(problem((channels, 9, 8), seed=0)),
    )
    assert list(old.weights) == list(new.weights)
    assert torch.equal(old.inputs["z"], new.inputs["z"])
    for name, weight in old.weights.items():
        assert "head" in name or torch.equal(weight, new.weights[name]), name
        assert new.weights[name].dtype == torch.float64
    assert not any(p.requires_grad for p in adapted.network.parameters())
    assert rows_of(colour).shape == (3, 7)  # as it was


def test_grey_weights_serve_colour_and_as_many_channels_need_nothing():
    grey = prior(learned=True).with_channels(1)
    assert torch.equal(rows_of(grey.with_channels(3)), rows_of(grey).expand(3, -1))
    assert grey.with_channels(1) is grey


def test_an_untrained_prior_of_other_channels_is_drawn_as_one_of_that_width():
    grey = LatentNetwork(
        SkipUNet(4, out_channels=1, channels=[6], skip_channels=[2]),
        Latent(4, size_px=8, n_wavelengths=0),
    )
    ours = prior(learned=False).with_channels(1).start(problem((1, 8, 8), seed=4))
    theirs = grey.start(problem((1, 8, 8), seed=4))
    assert torch.equal(ours.inputs["z"], theirs.inputs["z"])
    assert all(torch.equal(ours.weights[name], w) for name, w in theirs.weights.items())


@pytest.mark.parametrize("channels", [0, 5])
def test_no_more_than_four_channels(channels: int):
    with pytest.raises(ValueError, match=f"images have 1 to 4 channels, asked for {channels}"):
        prior(learned=True).with_channels(channels)


def test_no_stream_of_a_fit_is_another_or_the_global_one():
    """Weights, latent and steps draw from streams of their own; GPUs keep their generators."""
    untrained, seen = prior(learned=False), problem((3, 8, 8), seed=5)
    start = untrained.start(seen)
    steps = generator_of(5, Stream.STEPS)
    uniforms = torch.rand(4 * 8 * 8, generator=steps)
    assert not torch.allclose(start.inputs["z"].flatten() / 0.1, uniforms)
    raw = dict(draw_weights(untrained.network, seed=5).named_parameters())
    assert not torch.equal(start.weights["network.head.weight"], raw["head.weight"])


def test_drawing_leaves_the_generators_of_gpus_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("reseeded"))
    monkeypatch.setattr(torch, "manual_seed", lambda _: pytest.fail("reseeded"))
    draw_weights(prior(learned=False).network, seed=3)


def test_large_images_suit_a_network_that_sees_the_image_alone(caplog: pytest.LogCaptureFixture):
    network = SkipUNet(3, out_channels=3, channels=[6], skip_channels=[2], residual=True)
    sees_image = LatentNetwork(network, BackProjection(3), learned=True, learned_px=4)
    sees_latent = prior(learned=True)
    sees_latent.learned_px = 4
    assert (sees_image.any_size, sees_latent.any_size) == (True, False)
    for representation, warned in ((sees_image, False), (sees_latent, True)):
        caplog.clear()
        fits = FitReconstructor(representation, objective=Sum(mse), optimizer=Adam(lr=0.1), steps=0)
        fits.reconstruct([problem((3, 32, 32), seed=0)])
        assert ("images of more than 6 px" in caplog.text) is warned
