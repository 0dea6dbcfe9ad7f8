"""Inputs that a representation refreshes go back with the weights when a fit diverges."""

import pytest
import torch
from torch import Tensor

from metadip.fitting import Backtracking, Execution, fit
from metadip.priors import BackProjection, LatentNetwork, SkipUNet, draw_weights
from metadip.types import Estimate, FitState, InverseProblem, Named
from tests.fitting.tiny import ADAM, MSE, Hook, sensed


class OwnOutput(LatentNetwork):
    """A network that is given its own output."""

    def refresh(
        self, inputs: Named, estimate: Estimate, problem: InverseProblem, step: int
    ) -> Named:
        return {"z": estimate.x}


@pytest.mark.parametrize("stacked", [False, True])
def test_an_image_that_is_taken_back_gets_the_input_it_had(stacked: bool):
    class Ruin(Hook):
        def __init__(self) -> None:
            self.inputs: list[dict[int, Tensor]] = []

        def on_step_end(self, state: FitState) -> None:
            seeds = [state.problems[i].seed for i in state.active.tolist()]
            rows = zip(seeds, state.inputs["z"].detach().clone(), strict=True)
            self.inputs.append(dict(rows))

        def on_update_end(self, state: FitState) -> None:
            if state.step == 3:  # of the first image alone
                rows = [i for i, p in enumerate(state.problems) if p.seed == 0]
                for weight in state.weights.values():
                    weight[rows] = torch.nan

    network = draw_weights(SkipUNet(3, out_channels=3, channels=[4], skip_channels=[2]), seed=7)
    prior, hook = OwnOutput(network, BackProjection(3), learned=True).double(), Ruin()
    execution = Execution(stacked=stacked, backtracking=Backtracking(check_every=2))
    problems = [sensed(seed, 90, (3, 8, 8)) for seed in range(2 if stacked else 1)]
    result, *_ = fit(problems, prior, MSE, ADAM, steps=6, hooks=[hook], execution=execution)
    assert result.rollbacks == 1
    seen = hook.inputs
    assert torch.equal(seen[5][0], seen[2][0])  # accepted at 2, ruined at 3, taken back at 4
    assert not torch.equal(seen[4][0], seen[3][0])
    if stacked:
        assert not torch.equal(seen[5][1], seen[2][1])
    assert result.x_hat.isfinite().all()
