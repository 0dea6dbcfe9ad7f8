"""The base class of hooks of a fit: a Lightning callback with five more methods."""

from __future__ import annotations

from lightning.pytorch import Callback
from torch import Tensor

from metadip.types import FitState


class FitCallback(Callback):
    """Watch or change a fit; every method does nothing unless overridden.

    The same object can be passed to ``fit`` or to ``Trainer(callbacks=[...])``, or named in a YAML
    file. Hooks are called in the order in which they are listed, so a hook that reads what another
    one writes must come after it. The state of a hook belongs to one call of ``fit``: it is reset
    in ``on_reconstruction_start``, has one row for each of the N images, and never mixes images.
    """

    def on_reconstruction_start(self, state: FitState) -> None:
        """Run once before the first step; reset the state of the previous fit here."""

    def on_step_start(self, state: FitState) -> None:
        """Run before the estimate; set ``state.jitter`` here to perturb inputs by name."""

    def on_step_end(self, state: FitState) -> None:
        """Run once ``x_hat``, ``loss`` and ``output`` of this step are known, before the update."""

    def on_update_end(self, state: FitState) -> None:
        """Run after an update; ``state.weights`` may be changed in place here."""

    def on_reconstruction_end(self, state: FitState) -> None:
        """Run once after the last step; ``state.output`` is returned afterwards."""


def active_rows(state: FitState) -> Tensor | slice:
    """Return an index of the active images into a buffer with N rows; no copy while all run."""
    return slice(None) if len(state.active) == len(state.problems) else state.active
