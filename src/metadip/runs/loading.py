"""Load a prior as a reconstructor, in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metadip.types import UserError

if TYPE_CHECKING:
    from metadip.methods import FitReconstructor


def load(
    ckpt: str,
    *,
    steps: int = 50,
    beyond: str | None = None,
    rescale: bool = True,
    seed: int = 0,
) -> FitReconstructor:
    """Load a meta-learned prior as a deepinv ``Reconstructor``.

    Then ``metadip.load("faces64")(y, physics)`` is the reconstruction, of images with 1 to 4
    channels and any size.

    Args:
        ckpt: name of a released prior, a ``.safetensors`` file, or a checkpoint of meta-training.
        steps: weight updates per image.
        beyond: rule past the learned step sizes, "hold", "average", "decay" or "adam" (see
            ``metadip.fitting.MomentumSGD``); None keeps the prior's own rule.
        rescale: bring operators to the scale at which the step sizes were learned, see
            ``metadip.methods.scaling``; the tasks of metadip are there already.
        seed: starts the random streams of the fits.
    Raises:
        UserError: unknown ``beyond``; see also ``metadip.checkpoint.load_prior``.
    """
    from metadip.checkpoint import load_prior
    from metadip.fitting.optimizers import BEYOND
    from metadip.methods import FitReconstructor

    if beyond is not None and beyond not in BEYOND:
        raise UserError(f"method.beyond={beyond!r} is unknown; choose from {', '.join(BEYOND)}")
    learned = load_prior(ckpt)
    if beyond is not None:
        learned.optimizer.beyond = beyond
    return FitReconstructor(
        learned.prior,
        objective=learned.objective,
        optimizer=learned.optimizer,
        steps=steps,
        rescale=rescale,
        seed=seed,
    )
