"""Where a fit starts: learned weights as they are, untrained ones from the image's seed."""

from typing import Any

import pytest
import torch
from deepinv.physics import Denoising

from metadip.priors import Latent, Prior, SkipUNet
from metadip.types import InverseProblem


def problem(shape: tuple[int, int, int], *, seed: int) -> InverseProblem:
    return InverseProblem(torch.zeros(1, *shape), Denoising(), shape, seed=seed)


def prior(*, learned: bool, **latent: Any) -> Prior:
    network = SkipUNet(4, out_channels=3, channels=[6], skip_channels=[2])
    return Prior(
        network, Latent(4, **{"size_px": 8, "n_wavelengths": 0, **latent}), learned=learned
    )


def test_a_learned_prior_starts_from_copies_of_what_is_stored():
    learned = prior(learned=True)
    weights, z = learned.start(problem((3, 12, 10), seed=1))
    other_weights, other_z = learned.start(problem((3, 12, 10), seed=2))
    assert torch.equal(z, learned.latent(12, 10))
    assert torch.equal(z, other_z)
    for name, stored in learned.network.named_parameters():
        assert torch.equal(weights[name], stored)
        assert torch.equal(weights[name], other_weights[name])
        assert weights[name].data_ptr() != stored.data_ptr()
        assert not weights[name].requires_grad


def test_an_untrained_prior_draws_weights_and_latent_from_the_seed():
    untrained = prior(learned=False)
    noise, state = untrained.latent.noise.clone(), torch.get_rng_state()
    weights, z = untrained.start(problem((3, 12, 10), seed=1))
    again, z_again = untrained.start(problem((3, 12, 10), seed=1))
    other, z_other = untrained.start(problem((3, 12, 10), seed=2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(untrained.latent.noise, noise)
    assert torch.equal(z, z_again)
    assert not torch.equal(z, z_other)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not torch.equal(weights["head.weight"], other["head.weight"])
    stored = dict(untrained.network.named_parameters())
    assert not torch.equal(weights["head.weight"], stored["head.weight"])


def test_untrained_noise_covers_the_image_without_repeating():
    _, z = prior(learned=False).start(problem((3, 16, 8), seed=1))
    assert not torch.equal(z[..., :8, :], z[..., 8:, :])


def test_the_wrong_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="the network takes 4 channels, the latent gives 8"):
        prior(learned=True, n_wavelengths=1)
    with pytest.raises(ValueError, match="makes images of 3 channels, asked for 1"):
        prior(learned=True).start(problem((1, 8, 8), seed=0))


def rows_of(prior: Prior) -> torch.Tensor:
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
    assert list(old[0]) == list(new[0])
    assert torch.equal(old[1], new[1])
    for name, weight in old[0].items():
        assert name.startswith("head") or torch.equal(weight, new[0][name]), name
        assert new[0][name].dtype == torch.float64
    assert not any(p.requires_grad for p in adapted.network.parameters())
    assert rows_of(colour).shape == (3, 7)  # as it was


def test_grey_weights_serve_colour_and_as_many_channels_need_nothing():
    grey = prior(learned=True).with_channels(1)
    assert torch.equal(rows_of(grey.with_channels(3)), rows_of(grey).expand(3, -1))
    assert grey.with_channels(1) is grey


def test_an_untrained_prior_of_other_channels_is_drawn_as_one_of_that_width():
    grey = Prior(
        SkipUNet(4, out_channels=1, channels=[6], skip_channels=[2]),
        Latent(4, size_px=8, n_wavelengths=0),
    )
    ours, z = prior(learned=False).with_channels(1).start(problem((1, 8, 8), seed=4))
    theirs, expected_z = grey.start(problem((1, 8, 8), seed=4))
    assert torch.equal(z, expected_z)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("channels", [0, 5])
def test_no_more_than_four_channels(channels: int):
    with pytest.raises(ValueError, match=f"images have 1 to 4 channels, asked for {channels}"):
        prior(learned=True).with_channels(channels)
