"""Where a fit starts: learned weights as they are, untrained ones from the image's seed."""

from typing import Any

import pytest
import torch

from metadip.priors import Latent, Prior, SkipUNet


def prior(*, learned: bool, **latent: Any) -> Prior:
    network = SkipUNet(4, out_channels=3, channels=[6], skip_channels=[2])
    return Prior(
        network, Latent(4, **{"size_px": 8, "n_wavelengths": 0, **latent}), learned=learned
    )


def test_a_learned_prior_starts_from_copies_of_what_is_stored():
    learned = prior(learned=True)
    weights, z = learned.start((3, 12, 10), seed=1)
    other_weights, other_z = learned.start((3, 12, 10), seed=2)
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
    weights, z = untrained.start((3, 12, 10), seed=1)
    again, z_again = untrained.start((3, 12, 10), seed=1)
    other, z_other = untrained.start((3, 12, 10), seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(untrained.latent.noise, noise)
    assert torch.equal(z, z_again)
    assert not torch.equal(z, z_other)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not torch.equal(weights["head.weight"], other["head.weight"])
    stored = dict(untrained.network.named_parameters())
    assert not torch.equal(weights["head.weight"], stored["head.weight"])


def test_untrained_noise_covers_the_image_without_repeating():
    _, z = prior(learned=False).start((3, 16, 8), seed=1)
    assert not torch.equal(z[..., :8, :], z[..., 8:, :])


def test_the_wrong_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="the network takes 4 channels, the latent gives 8"):
        prior(learned=True, n_wavelengths=1)
    with pytest.raises(ValueError, match="makes images of 3 channels, asked for 1"):
        prior(learned=True).start((1, 8, 8), seed=0)
