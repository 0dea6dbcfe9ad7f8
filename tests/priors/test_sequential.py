"""A network that is given its own output, against the same steps written by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from metadip import registry
from metadip.fitting import Adam, Autoencoding, Execution, Sum, fit, mse
from metadip.priors import AutoSequential, SkipUNet
from metadip.types import InverseProblem, UserError
from tests.fitting.tiny import StopImage, look, sensed

SHAPE = (2, 6, 6)
OBJECTIVE = Sum(mse, {"autoencoding": Autoencoding(0.5)})
ADAM = Adam(lr=0.02)


class ImageToImage(nn.Module):
    """Two convolutions, smooth."""

    in_channels = out_channels = 2

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.Softplus(), nn.Conv2d(3, 2, 3, padding=1)
        )

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.parts(z)
        return image


def prior(every: int = 2) -> AutoSequential:
    torch.manual_seed(0)
    return AutoSequential(ImageToImage(), every=every, learned=True).double()


def problem(seed: int) -> InverseProblem:
    return sensed(seed, 40, SHAPE)


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("stacked", [False, True])
def test_steps_are_those_written_by_hand(every: int, stacked: bool):
    problems, losses = [problem(seed) for seed in range(2)], []
    results = fit(
        problems, prior(every), OBJECTIVE, ADAM, steps=7, execution=Execution(stacked=stacked)
    )
    for seen in problems:
        network = prior().network
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
        z, y = seen.physics.A_adjoint(seen.y), seen.y
        curve = []
        for step in range(8):
            x_hat = network(z)
            residual = seen.physics.A(x_hat) - y
            n = x_hat.numel()
            loss = residual.square().sum() / n + 0.5 * (x_hat - z).square().sum() / n
            curve.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if (step + 1) % every == 0:
                z = x_hat.detach()
        losses.append(curve)
    for result, curve in zip(results, losses, strict=True):
        expected = torch.tensor(curve, dtype=torch.float64)
        torch.testing.assert_close(result.curves["loss"].double(), expected, rtol=1e-6, atol=1e-9)


def test_images_that_stop_leave_the_inputs_of_the_others_alone():
    problems = [problem(seed) for seed in range(3)]
    runs = [
        fit(
            problems, prior(), OBJECTIVE, ADAM, steps=9, hooks=[StopImage({0: 2, 2: 5})],
            execution=Execution(stacked=stacked),
        )
        for stacked in (False, True)
    ]  # fmt: skip
    for alone, together in zip(*runs, strict=True):
        assert alone.steps == together.steps
        torch.testing.assert_close(alone.x_hat, together.x_hat, rtol=1e-6, atol=1e-9)
        assert alone.end is not None
        assert together.end is not None
        torch.testing.assert_close(
            alone.end.inputs["z"], together.end.inputs["z"], rtol=1e-6, atol=1e-9
        )


def test_description_rebuilds_prior_and_term():
    network = SkipUNet(3, out_channels=3, channels=[4], skip_channels=[2])
    made = AutoSequential(network, every=3)
    again = registry.build("representation", made.description)
    assert isinstance(again, AutoSequential)
    assert again.every == 3
    assert again.description == made.description
    term = Autoencoding(0.2, input="image")
    assert registry.build("term", term.description) == term  # type: ignore[attr-defined]


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_an_untrained_one_serves_other_numbers_of_channels(channels: int):
    def of(channels: int) -> AutoSequential:
        network = SkipUNet(channels, out_channels=channels, channels=[4], skip_channels=[2])
        return AutoSequential(network, every=2)

    problem = sensed(0, 4, (channels, 16, 16))
    adapted, own = (p.start(problem) for p in (of(3).with_channels(channels), of(channels)))
    assert isinstance(of(3).with_channels(channels), AutoSequential)
    assert adapted.inputs["z"].shape == (1, channels, 16, 16)
    assert adapted.weights.keys() == own.weights.keys()
    assert all(torch.equal(adapted.weights[name], own.weights[name]) for name in own.weights)


def test_mistakes_are_refused():
    network: Any = SkipUNet(4, out_channels=3, channels=[4], skip_channels=[2])
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        AutoSequential(network, every=0)
    with pytest.raises(ValueError, match="the network takes 4 channels, the latent gives 3"):
        AutoSequential(network, every=1)
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        Autoencoding(-1)
    x = torch.zeros(1, *SHAPE)
    with pytest.raises(UserError, match=r"needs an input 'z' that is an image \(1, 2, 6, 6\)"):
        Autoencoding(1.0)(look(x, x, x, inputs={"z": x[:, :1]}))
