"""Reconstructors in one call: a meta-learned prior, and the vanilla deep image prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from metadip.types import UserError

if TYPE_CHECKING:
    from metadip.fitting import Execution
    from metadip.methods import FitReconstructor


def load(
    ckpt: str,
    *,
    steps: int = 50,
    beyond: str | None = None,
    adam_lr: float | None = None,
    rescale: bool = True,
    seed: int = 0,
    callbacks: Sequence[Any] = (),
    execution: Execution | None = None,
) -> FitReconstructor:
    """Load a meta-learned prior as a deepinv ``Reconstructor``.

    Then ``metadip.load("faces64")(y, physics)`` is the reconstruction, of images with 1 to 4
    channels and any size.

    Args:
        ckpt: name of a released prior, a ``.safetensors`` file, or a checkpoint of meta-training.
        steps: weight updates per image.
        beyond: rule past the learned step sizes, "hold", "average", "decay" or "adam" (see
            ``metadip.fitting.MomentumSGD``); None keeps the prior's own rule.
        adam_lr: step size of "adam" there, above 0; None keeps the prior's own. Images larger than
            those that a prior was learned on may gain from more, see ``docs/meta_training.md``.
        rescale: bring operators to the scale at which the step sizes were learned, see
            ``metadip.physics.scaling``; the tasks of metadip are there already.
        seed: starts the random streams of the fits.
        callbacks, execution: see ``FitReconstructor``.
    Raises:
        UserError: unknown ``beyond``; ``adam_lr`` not above 0, or with another rule than "adam",
            which has no use for it; see also ``metadip.checkpoint.load_prior``.
    """
    from metadip.checkpoint import load_prior
    from metadip.config import check_positive
    from metadip.fitting.optimizers import BEYOND
    from metadip.methods import FitReconstructor

    if beyond is not None and beyond not in BEYOND:
        raise UserError(f"method.beyond={beyond!r} is unknown; choose from {', '.join(BEYOND)}")
    if adam_lr is not None:
        check_positive("method.adam_lr", adam_lr)
    learned = load_prior(ckpt)
    if beyond is not None:
        learned.optimizer.beyond = beyond
    if adam_lr is not None:
        if learned.optimizer.beyond != "adam":
            raise UserError(
                f"method.adam_lr has no use with beyond={learned.optimizer.beyond}: set "
                "method.beyond=adam"
            )
        learned.optimizer.adam_lr = adam_lr
    return FitReconstructor(
        learned.prior,
        objective=learned.objective,
        optimizer=learned.optimizer,
        steps=steps,
        callbacks=callbacks,
        execution=execution,
        rescale=rescale,
        seed=seed,
    )


def DIP(
    *overrides: str,
    prior: str | None = None,
    callbacks: str | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> FitReconstructor:
    """Return the vanilla deep image prior as a deepinv ``Reconstructor``.

    It is what ``infer.py method=dip`` runs: network, latent, loss, Adam's step size, number of
    steps, jitter and averaging are those of the presets under ``conf/``; each may be replaced.

    Args:
        overrides: further settings of ``infer.py`` that say how to fit, such as
            ``"optimizer.lr=0.001"`` or ``"fit.precision=bf16"``.
        prior: preset of the network, ``"skip_unet_small"`` or another file in ``conf/prior``; None
            for the 2.2 M weights of the paper.
        callbacks: preset of the hooks, such as ``"es_emv"`` for early stopping; None for jitter and
            averaged output.
        steps: weight updates per image; None for the preset's.
        seed: image i of a batch draws weights, latent and jitter from ``seed + i``.
    Raises:
        UserError: an unknown preset or setting, or a value that is refused.
    References: Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925.
    Example:
        >>> import deepinv, torch
        >>> dip = DIP("prior.network.channels=[8]", "prior.network.skip_channels=[4]", steps=2)
        >>> dip(torch.rand(1, 1, 16, 20), deepinv.physics.Denoising()).shape
        torch.Size([1, 1, 16, 20])
    """
    from metadip import config
    from metadip.runs.inference import build_fit

    chosen = {"prior": prior, "callbacks": callbacks, "method.steps": steps, "seed": seed}
    settings = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    cfg = config.compose("infer", ["method=dip", *settings, *overrides])
    config.check_settings(cfg)
    return build_fit(cfg)
