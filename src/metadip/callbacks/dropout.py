"""Drop channels of a network at random."""

from __future__ import annotations

import torch

from metadip.callbacks.base import FitCallback
from metadip.types import FitState, UserError


class Dropout(FitCallback):
    """Keep each channel of a ``WithDropout`` network with a probability, fresh at each step.

    Model:
        mask = b / keep, b ~ Bernoulli(keep) from the image's own stream; kept channels are larger,
        so that the mean stays. Outputs are those of thinned networks, too: average them.
    Shape:
        Sets ``jitter`` of ``mask``, (A, channels).
    Args:
        keep: in (0, 1]; 1 drops nothing.
    Raises:
        ValueError: If ``keep`` is outside (0, 1].
        UserError: When a fit begins, if the representation has no mask.
    References: Srivastava et al. (2014), Dropout, JMLR 15.
    """

    def __init__(self, keep: float) -> None:
        if not 0 < keep <= 1:
            raise ValueError(f"keep must be in (0, 1], got {keep}")
        self.keep = keep

    def on_reconstruction_start(self, state: FitState) -> None:
        """Check that there are masks."""
        if "mask" not in state.inputs:
            known = ", ".join(state.inputs) or "none"
            raise UserError(f"no input 'mask' to drop by: take prior=dropout, not {known}")

    def on_step_start(self, state: FitState) -> None:
        """Draw the masks of every active image."""
        mask = state.inputs["mask"]
        kept = torch.special.ndtr(state.draw(mask)) < self.keep
        state.jitter["mask"] = kept.to(mask) / self.keep - mask
