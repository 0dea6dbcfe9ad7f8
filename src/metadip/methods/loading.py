"""A meta-learned prior as a reconstructor, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from metadip.prior_files import DEFAULT
from metadip.types import UserError

if TYPE_CHECKING:
    from metadip.fitting import Execution, MomentumSGD
    from metadip.methods import FitReconstructor

TOLERANCE = 1e-3  # of the image; a step below it changes nothing that an eye sees


def load(
    ckpt: str = DEFAULT,
    *,
    steps: int | None = None,
    beyond: str | None = None,
    adam_lr: float | None = None,
    tolerance: float | None = None,
    rescale: bool = True,
    callbacks: Sequence[Any] = (),
    execution: Execution | None = None,
    seed: int = 0,
) -> FitReconstructor:
    """Load a meta-learned prior as a deepinv ``Reconstructor``.

    ``metadip.load()(y, physics)`` then returns the reconstruction by the prior for photographs.

    Args:
        ckpt: name of a released prior, a ``.safetensors`` file, or a checkpoint of meta-training.
        steps: steps per image; None takes as many as the prior was validated with.
        beyond: rule past the learned step sizes, "hold", "average", "decay" or "adam" (see
            ``metadip.fitting.MomentumSGD``); None keeps the prior's own rule.
        adam_lr: step size of "adam", above 0; None keeps the prior's own. Images larger than those
            that a prior was learned on may need a larger one, see
            ``docs/records/meta_training.md``.
        tolerance: stop an image at a step that changes less than this fraction of it, see
            ``metadip.callbacks.Converged``; 0 takes all steps; None is 1e-3 for priors that see the
            image, and 0 for others.
        rescale: bring operators to the scale at which the step sizes were learned, see
            ``metadip.physics.scaling``; a measurement passed as a problem, as in ``reconstruct``,
            brings its own scale.
        callbacks: hooks such as ``metadip.callbacks.DiscrepancyPrinciple``; copied for every call.
        execution: how images share the device, see ``metadip.fitting.Execution``.
        seed: image i of a batch draws its random streams from ``seed + i``.
    Raises:
        UserError: If ``beyond`` is unknown, ``tolerance`` is negative, or ``adam_lr`` is not above
            0 or given for a rule other than "adam", which does not use it; see also
            ``metadip.checkpoint.load_prior``.
    """
    from metadip.checkpoint import load_prior
    from metadip.methods import FitReconstructor

    learned = load_prior(ckpt)
    _adjust(learned.optimizer, beyond, adam_lr)
    return FitReconstructor(
        learned.prior,
        objective=learned.objective,
        optimizer=learned.optimizer,
        steps=learned.steps if steps is None else steps,
        rescale=rescale,
        callbacks=[*callbacks, *_stop(tolerance, refreshes=learned.prior.refreshes)],
        execution=execution,
        seed=seed,
    )


def _adjust(rule: MomentumSGD, beyond: str | None, adam_lr: float | None) -> None:
    """Change how a rule goes on past the learned step sizes."""
    from metadip.config import check_positive
    from metadip.fitting.momentum_sgd import BEYOND

    if beyond is not None and beyond not in BEYOND:
        raise UserError(f"method.beyond={beyond!r} is unknown; choose from {', '.join(BEYOND)}")
    rule.beyond = rule.beyond if beyond is None else beyond
    if adam_lr is not None:
        check_positive("method.adam_lr", adam_lr)
        if rule.beyond != "adam":
            raise UserError(
                f"method.adam_lr has no use with beyond={rule.beyond}: set method.beyond=adam"
            )
        rule.adam_lr = adam_lr


def _stop(tolerance: float | None, *, refreshes: bool) -> list[Any]:
    """Return the hook that ends a converged fit, if there is to be one."""
    from metadip.callbacks import Converged
    from metadip.config import check_positive

    if tolerance is None:
        tolerance = TOLERANCE if refreshes else 0.0
    elif tolerance:
        check_positive("method.tolerance", tolerance)
    return [Converged(tolerance)] if tolerance else []
