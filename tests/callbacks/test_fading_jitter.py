"""Jitter that fades: its size at each step, and refusals."""

import pytest
import torch

from metadip.callbacks import FadingJitter
from metadip.types import FitState
from tests.fitting.tiny import Hook, noisy, tiny_fit


class Sizes(Hook):
    """Record the root mean square of the jitter."""

    def __init__(self) -> None:
        self.rms: list[float] = []

    def on_step_end(self, state: FitState) -> None:
        self.rms.append(float(state.jitter["z"].square().mean().sqrt()))

    def on_update_end(self, state: FitState) -> None: ...

    def on_reconstruction_end(self, state: FitState) -> None: ...


def test_it_fades_in_stages() -> None:
    sizes = Sizes()
    hooks = [FadingJitter(1.0, factor=0.5, every=2), sizes]
    tiny_fit([noisy(0, (3, 16, 16))], steps=5, hooks=hooks)
    expected = torch.tensor([1, 1, 0.5, 0.5, 0.25, 0.25])
    torch.testing.assert_close(torch.tensor(sizes.rms), expected, rtol=0.1, atol=0)


@pytest.mark.parametrize("change", [{"std": -1.0}, {"factor": 0.0}, {"factor": 1.1}, {"every": 0}])
def test_bad_arguments_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need std >= 0, factor in"):
        FadingJitter(**{"std": 1.0, "factor": 0.5, "every": 2, **change})  # type: ignore[arg-type]
