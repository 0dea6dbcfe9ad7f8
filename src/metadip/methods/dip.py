"""Vanilla deep image prior in one call."""

from __future__ import annotations

from metadip import config
from metadip.methods.fit import FitReconstructor


class DIP(FitReconstructor):
    """Reconstruct with an untrained network, as ``infer.py method=dip`` does.

    Model:
        See ``FitReconstructor``. Network, latent, loss, Adam's step size, number of steps, jitter
        and averaging are those of the presets under ``conf/``; each may be replaced.
    Args:
        overrides: further settings of ``infer.py``, such as ``"optimizer.lr=0.001"``.
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

    def __init__(
        self,
        *overrides: str,
        prior: str | None = None,
        callbacks: str | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> None:
        chosen = {"prior": prior, "callbacks": callbacks, "method.steps": steps, "seed": seed}
        settings = [f"{key}={value}" for key, value in chosen.items() if value is not None]
        cfg = config.compose("infer", ["method=dip", *settings, *overrides])
        super().__init__(
            config.build(cfg.prior),
            objective=config.build(cfg.objective),
            optimizer=config.build(cfg.optimizer),
            steps=cfg.method.steps,
            callbacks=[config.build(node) for node in cfg.callbacks.values()],
            seed=cfg.seed,
        )
