"""The hooks in the real loop: one by one and stacked give the same."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from metadip.callbacks import ESWMV, LatentJitter, OraclePSNR, OutputEMA
from metadip.fitting import Adam, Execution, Sum, fit, mse
from metadip.priors import Latent, LatentNetwork, SkipUNet
from metadip.tasks import DenoisingTask
from metadip.types import FitResult

SEED = 10
# In float32 Adam would make rounding visible, how much depends on the processor.
EXACT: dict[str, Any] = {"atol": 1e-8, "rtol": 0.0}


def reconstruct(images: list[int], *, stacked: bool, stop: bool) -> list[FitResult]:
    task = DenoisingTask(0.1, clip=False)
    ramp = torch.linspace(0, 1, 16)
    truths = [torch.outer(ramp, ramp.roll(5 * i))[None, None] for i in range(3)]
    problems = [task.measure(truths[i], seed=SEED + i, name=str(i)) for i in images]
    problems = [replace(p, y=p.y.double(), x=p.x.double()) for p in problems if p.x is not None]
    latent = Latent(4, size_px=16, n_wavelengths=0)
    network = SkipUNet(4, out_channels=1, channels=[8, 8], skip_channels=[2, 2])
    rule = ESWMV(4, 6, min_start=10) if stop else OutputEMA(0.9, bias_correction=True)
    return fit(
        problems,
        LatentNetwork(network, latent).double(),
        Sum(mse),
        Adam(lr=0.02),
        steps=60 if stop else 12,
        hooks=[LatentJitter(0.03), rule, OraclePSNR()],
        execution=Execution(stacked=stacked),
    )


@pytest.mark.parametrize("stop", [True, False])
def test_an_image_gets_the_same_alone_and_in_a_batch(stop: bool):
    alone = reconstruct([0, 1, 2], stacked=False, stop=stop)
    if stop:
        assert len({result.stop_step for result in alone}) > 1  # they leave at different times
        for result in alone:
            assert result.stop_step is not None
            assert result.stop_step == result.curves["chosen_step"][-1] + 6
    for images in ([0, 1, 2], [2, 0]):
        for image, result in zip(images, reconstruct(images, stacked=True, stop=stop), strict=True):
            assert result.stop_step == alone[image].stop_step
            torch.testing.assert_close(result.x_hat, alone[image].x_hat, **EXACT)
            for name, curve in result.curves.items():
                expected = alone[image].curves[name]
                torch.testing.assert_close(curve, expected, **EXACT, equal_nan=True)
