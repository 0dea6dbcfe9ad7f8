"""Dropout by masks: without any it is the plain network; what it drops; refusals."""

import pytest
import torch

from metadip.callbacks import Dropout
from metadip.fitting import Execution, fit
from metadip.priors import DeepDecoder, WithDropout
from metadip.types import FitState, UserError
from tests.fitting.tiny import ADAM, MSE, SAME, Hook, noisy, tiny_fit, tiny_prior

PROBLEM = noisy(0, (3, 16, 16))


def prior() -> WithDropout:
    return WithDropout(tiny_prior(learned=False))


class Masks(Hook):
    """Keep the masks of every step."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_step_end(self, state: FitState) -> None:
        self.seen.append(state.inputs["mask"] + state.jitter["mask"])

    def on_update_end(self, state: FitState) -> None: ...

    def on_reconstruction_end(self, state: FitState) -> None: ...


def test_a_full_mask_is_the_plain_network() -> None:
    weights, inputs = prior().start(PROBLEM)
    n_channels = 2 + 4 * 4  # after the skip, two on the way down, two on the way up
    assert inputs["mask"].shape == (1, n_channels)
    (with_mask,) = fit([PROBLEM], prior(), MSE, ADAM, steps=3)
    (plain,) = fit([PROBLEM], tiny_prior(learned=False), MSE, ADAM, steps=3)
    torch.testing.assert_close(with_mask.x_hat, plain.x_hat, **SAME)
    assert set(weights) == {f"inner.{name}" for name in tiny_prior().weights}


def test_a_dropped_channel_does_not_matter() -> None:
    ours = prior()
    weights, inputs = ours.start(PROBLEM)
    ours.load_state_dict(dict(weights), strict=False)
    mask = inputs["mask"].clone()
    mask[:, -4:] = torch.tensor([1.0, 0.0, 1.0, 1.0])  # the activation before the head
    before = ours((16, 16), z=inputs["z"], mask=mask).x
    with torch.no_grad():
        ours.get_parameter("inner.network.head.weight")[:, 1] += 100
    torch.testing.assert_close(ours((16, 16), z=inputs["z"], mask=mask).x, before)
    assert not torch.allclose(ours((16, 16), **inputs).x, before)


def test_masks_are_fresh_and_keep_the_mean() -> None:
    masks = Masks()
    fit([PROBLEM], prior(), MSE, ADAM, steps=60, hooks=[Dropout(0.8), masks])
    seen = torch.cat(masks.seen)
    assert set(seen.unique().tolist()) == {0.0, 1.25}
    assert float((seen > 0).float().mean()) == pytest.approx(0.8, abs=0.04)
    assert not torch.equal(seen[0], seen[1])


def test_images_of_a_stack_draw_the_same_masks() -> None:
    """Only the first step is compared: BatchNorm of dropped channels amplifies rounding later."""
    problems = [noisy(seed, (3, 10, 12)) for seed in range(2)]
    alone, stacked = Masks(), Masks()
    one, both = (
        fit(problems, prior(), MSE, ADAM, steps=1, hooks=[Dropout(0.9), masks],
            execution=Execution(stacked=masks is stacked)) for masks in (alone, stacked)
    )  # fmt: skip
    for step in range(2):
        assert torch.equal(torch.cat(alone.seen[step::2]), stacked.seen[step])
    for mine, theirs in zip(one, both, strict=True):
        torch.testing.assert_close(
            mine.curves["loss"][:1], theirs.curves["loss"][:1], rtol=1e-4, atol=0
        )


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"keep must be in \(0, 1\], got 0"):
        Dropout(0)
    with pytest.raises(UserError, match="no input 'mask' to drop by: take prior=dropout"):
        tiny_fit([noisy(0)], steps=0, hooks=[Dropout(0.5)])
    with pytest.raises(ValueError, match="the network has no LeakyReLU"):
        WithDropout(DeepDecoder(3, width=4))
