"""Load a prior as a reconstructor, in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metadip.methods import FitReconstructor


def load(
    ckpt: str, *, steps: int = 50, beyond: str | None = None, seed: int = 0
) -> FitReconstructor:
    """Load a meta-learned prior as a deepinv ``Reconstructor``.

    Then ``metadip.load("faces64")(y, physics)`` is the reconstruction.

    Args:
        ckpt: name of a released prior, a ``.safetensors`` file, or a checkpoint of meta-training.
        steps: weight updates per image.
        beyond: step sizes past the learned ones, "hold" or "decay"; None keeps the prior's own
            rule.
        seed: starts the random streams of the fits.
    Raises:
        UserError: see ``metadip.checkpoint.load_prior``.
    """
    from metadip.checkpoint import load_prior
    from metadip.methods import FitReconstructor

    learned = load_prior(ckpt)
    if beyond is not None:
        learned.optimizer.beyond = beyond
    return FitReconstructor(
        learned.prior,
        objective=learned.objective,
        optimizer=learned.optimizer,
        steps=steps,
        seed=seed,
    )
