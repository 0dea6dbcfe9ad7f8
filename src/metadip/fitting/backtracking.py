"""Restore the last good weights of an image whose fit diverges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from metadip.fitting.rules import State, Tensors
from metadip.types import FitState, Named


@dataclass(frozen=True)
class Backtracking:
    """Define when the fit of an image has diverged, and how often the image is taken back.

    Model:
        Every ``check_every`` steps and after the last one, an image is accepted if its data term L
        has risen by at most ``drop_db`` since it was last accepted, 10 log10(L / L_accepted); its
        weights, inputs, optimiser state and output are then kept. If it has risen by more, or the
        loss is not finite at any step, the image goes back to them. The data term is never
        negative, while the objective can be. The step count and the image's random stream continue,
        so that a jittered fit takes another path. After ``max_rollbacks`` rollbacks without an
        accepted check between them, the image stops with its last accepted output.
    Args:
        drop_db: largest allowed rise of the data term, above 0; 5 in the authors' code of the
            deep image prior.
        check_every: in steps, at least 1.
        max_rollbacks: at least 1.
    Raises:
        ValueError: If an argument is outside the range given here.
    Cost: a second copy of weights and optimiser state.
    References: Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925 (in the authors' code).
    """

    drop_db: float = 5.0
    check_every: int = 100
    max_rollbacks: int = 3

    def __post_init__(self) -> None:
        """Check the settings before anything is computed."""
        if not self.drop_db > 0 or self.check_every < 1 or self.max_rollbacks < 1:
            raise ValueError(
                "need drop_db > 0, check_every >= 1 and max_rollbacks >= 1, got "
                f"{self.drop_db}, {self.check_every} and {self.max_rollbacks}"
            )


class Snapshot(NamedTuple):
    """State of the active images when last accepted; (A, ...) each, weights stacked."""

    params: Tensors
    opt_state: State
    inputs: Named
    misfit: Tensor
    x_hat: Tensor
    output: Tensor


class Safeguard:
    """Watch the data terms of a running fit, and keep the states its images may go back to.

    Args:
        rule: when to go back; None stops a diverging image at once.
    """

    def __init__(self, rule: Backtracking | None) -> None:
        self.rule = rule
        self._accepted: Snapshot | None = None
        self._accepted_steps: dict[int, int] = {}  # by image
        self._failures: dict[int, int] = {}  # rollbacks since the last accepted check, by image
        self._returning: Tensor | None = None

    def watch(self, state: FitState) -> bool:
        """Publish the output of good images; stop the others, or show the state they go back to.

        Returns:
            Whether there are others; ``put_back`` then restores their weights.
        """
        state.taken_back = {}
        bad = ~(torch.isfinite(state.loss) & torch.isfinite(state.misfit))
        if self.rule is not None and self._accepted is not None and self._is_check(state):
            bad |= state.misfit > self._accepted.misfit * 10 ** (self.rule.drop_db / 10)
        self._returning = bad if bool(bad.any()) else None
        if self._returning is None:
            state.output[state.active] = state.x_hat
            return False
        for row in bad.nonzero().flatten().tolist():
            self._take_back(state, row)
        state.output[state.active[~bad]] = state.x_hat[~bad]
        state.loss = torch.where(bad, torch.nan, state.loss)
        if self._accepted is not None:
            state.output[state.active[bad]] = self._accepted.output[bad]
            state.x_hat = _chosen(bad, self._accepted.x_hat, state.x_hat)
        return True

    def accept(self, state: FitState, params: Tensors, opt_state: State) -> None:
        """Keep the current state of the images, if this step is a check."""
        if self.rule is None or state.step == state.n_steps or not self._is_check(state):
            return
        misfit, back = state.misfit, set(state.taken_back)
        if self._returning is not None and self._accepted is not None:
            misfit = _chosen(self._returning, self._accepted.misfit, misfit)
        self._failures = {i: n for i, n in self._failures.items() if i in back}
        accepted = [i for i in state.active.tolist() if i not in back]
        self._accepted_steps |= dict.fromkeys(accepted, state.step)
        copies = tuple(p.detach().clone() for p in params)
        output, inputs = state.output[state.active].clone(), self.put_back_inputs(state.inputs)
        self._accepted = Snapshot(copies, opt_state, inputs, misfit, state.x_hat, output)

    def put_back(self, params: Tensors, opt_state: State) -> tuple[Tensors, State]:
        """Return weights and optimiser state, the accepted ones where an image goes back."""
        back, accepted = self._returning, self._accepted
        if back is None or accepted is None:
            return params, opt_state
        grown = opt_state[len(accepted.opt_state) :]  # a rule may have added to its state since
        earlier = (*accepted.opt_state, *(tuple(map(torch.zeros_like, ts)) for ts in grown))
        return _all_chosen(back, accepted.params, params), tuple(
            _all_chosen(back, old, new) for old, new in zip(earlier, opt_state, strict=True)
        )

    def put_back_inputs(self, inputs: Named) -> Named:
        """Return inputs, the accepted ones where an image goes back."""
        back, accepted = self._returning, self._accepted
        if back is None or accepted is None:
            return inputs
        return {name: _chosen(back, accepted.inputs[name], new) for name, new in inputs.items()}

    def keep(self, images: Tensor) -> None:
        """Forget the images that leave the batch."""
        if self._returning is not None:
            self._returning = self._returning[images]
        if self._accepted is not None:
            params, opt_state, inputs, *rest = self._accepted
            self._accepted = Snapshot(
                tuple(p[images] for p in params),
                tuple(tuple(s[images] for s in tensors) for tensors in opt_state),
                {name: tensor[images] for name, tensor in inputs.items()},
                *(tensor[images] for tensor in rest),
            )

    def _is_check(self, state: FitState) -> bool:
        return self.rule is not None and (
            state.step % self.rule.check_every == 0 or state.step == state.n_steps
        )

    def _take_back(self, state: FitState, row: int) -> None:
        """Count a rollback of one active image, or stop it if it cannot go back."""
        image = int(state.active[row])
        failures = self._failures.get(image, 0)
        if (
            self.rule is not None
            and self._accepted is not None
            and failures < self.rule.max_rollbacks
        ):
            self._failures[image] = failures + 1
            state.rollbacks[image] = state.rollbacks.get(image, 0) + 1
            state.taken_back[image] = self._accepted_steps[image]
            return
        what = "the loss is not finite"
        if self.rule is not None and bool(torch.isfinite(state.loss[row] + state.misfit[row])):
            what = f"the data term has risen by more than {self.rule.drop_db:g} dB"
        reason = f"diverged: {what} at step {state.step}"
        if failures:
            reason += f", after {failures} rollbacks in a row"
        state.stop(torch.arange(len(state.active), device=state.loss.device) == row, reason)


def _chosen(rows: Tensor, ours: Tensor, theirs: Tensor) -> Tensor:
    """Return our tensor in these rows, theirs in the others; that of one image has no rows."""
    return torch.where(rows.reshape(-1, *[1] * (ours.ndim - 1)), ours, theirs)


def _all_chosen(rows: Tensor, ours: Tensors, theirs: Tensors) -> Tensors:
    return tuple(_chosen(rows, a, b) for a, b in zip(ours, theirs, strict=True))
