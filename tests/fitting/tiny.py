"""Priors and problems so small that a fit takes milliseconds."""

from collections.abc import Sequence
from typing import Any

import torch
from deepinv.physics import Denoising
from torch import Tensor, nn

from metadip.fitting import TV, Adam, Execution, Sum, fit, mse
from metadip.physics import MatrixSensing
from metadip.priors import Latent, LatentNetwork, SkipUNet, draw_weights
from metadip.types import Estimate, FitResult, FitState, InverseProblem, Look

MSE = Sum(mse)
MSE_TV = Sum(mse, {"tv": TV(0.05)})
ADAM = Adam(lr=0.02)
# Stacked and looped convolutions sum in another order; a few steps of Adam amplify that.
SAME: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
EXACT: dict[str, Any] = {"rtol": 0.0, "atol": 0.0}


class LinearNetwork(nn.Module):
    """Linear in its weights: every pixel is a weighted sum of the latent's channels."""

    def __init__(self, in_channels: int, *, out_channels: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.mix = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.mix(z)
        return image


def linear_prior() -> LatentNetwork:
    """Return a learned linear prior of six weights, in float64."""
    network = draw_weights(LinearNetwork(3, out_channels=2), seed=1)
    return LatentNetwork(
        network, Latent(3, size_px=8, n_wavelengths=0, noise_scale=1), learned=True
    ).double()


def tiny_prior(*, channels: int = 3, learned: bool = True, **latent: Any) -> LatentNetwork:
    """Return a skip network of a few hundred weights in float32, always the same."""
    network = SkipUNet(4, out_channels=channels, channels=[4], skip_channels=[2])
    options = {"size_px": 16, "n_wavelengths": 0, "noise_scale": 1.0, **latent}
    return LatentNetwork(draw_weights(network, seed=7), Latent(4, **options), learned=learned)


def image(seed: int, shape: tuple[int, int, int] = (3, 8, 8)) -> Tensor:
    """Return a random clean image (1, C, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, *shape), generator=generator)


def noisy(seed: int, shape: tuple[int, int, int] = (3, 8, 8)) -> InverseProblem:
    """Return a denoising problem with its ground truth."""
    x = image(seed, shape)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return InverseProblem(x + 0.1 * noise, Denoising(), shape, x=x, name=str(seed), seed=seed)


def sensed(seed: int, n_measurements: int, shape: tuple[int, int, int]) -> InverseProblem:
    """Return a float64 problem with a random matrix of its own."""
    generator = torch.Generator().manual_seed(seed)
    x = image(seed, shape).double()
    matrix = torch.randn(n_measurements, x.numel(), generator=generator, dtype=torch.float64)
    physics = MatrixSensing(matrix / n_measurements**0.5, image_shape=shape)
    return InverseProblem(physics.A(x), physics, shape, x=x, seed=seed)


def look(x_hat: Tensor, y_hat: Tensor, y: Tensor, **more: Any) -> Look:
    """Return a look at images that measure as ``y_hat``."""
    nothing: dict[str, Any] = {"weights": {}, "inputs": {}, "problems": []}
    nothing |= {"again": lambda **_: Estimate(x_hat), "draw": torch.zeros_like}
    return Look(**{"estimate": Estimate(x_hat), "y_hat": y_hat, "y": y, **nothing, **more})


def tiny_fit(
    problems: Sequence[InverseProblem],
    *,
    steps: int,
    prior: LatentNetwork | None = None,
    hooks: Sequence[Any] = (),
    **execution: Any,
) -> list[FitResult]:
    """Fit with Adam on the mean square error, from the learned tiny prior by default."""
    start = prior or tiny_prior()
    settings = Execution(**execution)
    return fit(problems, start, MSE, ADAM, steps=steps, hooks=hooks, execution=settings)


def assert_same(ours: Sequence[FitResult], theirs: Sequence[FitResult], **tolerance: Any) -> None:
    """Compare images, steps, and which curves there are."""
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.x_hat, b.x_hat, **tolerance)
        assert (a.steps, a.stop_step, a.rollbacks) == (b.steps, b.stop_step, b.rollbacks)
        assert a.curves.keys() == b.curves.keys()


class Hook:
    """A hook that does nothing; tests overwrite single methods."""

    def on_reconstruction_start(self, state: FitState) -> None: ...

    def on_step_start(self, state: FitState) -> None: ...

    def on_step_end(self, state: FitState) -> None: ...

    def on_update_end(self, state: FitState) -> None: ...

    def on_reconstruction_end(self, state: FitState) -> None: ...


class StopImage(Hook):
    """Stop chosen images, named by their seed, at chosen steps."""

    def __init__(self, steps: dict[int, int]) -> None:
        self.steps = steps

    def on_step_end(self, state: FitState) -> None:
        seeds = [state.problems[i].seed for i in state.active.tolist()]
        finished = torch.tensor([self.steps.get(seed) == state.step for seed in seeds])
        state.stop(finished, "scripted")
