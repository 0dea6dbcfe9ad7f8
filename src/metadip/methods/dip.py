"""The vanilla deep image prior as a class with ordinary arguments."""

from __future__ import annotations

from typing import Any

from metadip import config
from metadip.callbacks import LatentJitter, OutputEMA
from metadip.fitting import Adam, Execution, Sum, mse
from metadip.methods.fit import FitReconstructor
from metadip.priors import Representation

AVERAGING = 0.99  # of the output [Ulyanov], where no rule stops the fit


class DIP(FitReconstructor):
    """Reconstruct by the deep image prior: a network with random weights, fitted to one image.

    The defaults are those of ``infer.py method=dip``.

    Shape:
        ``forward(y, physics)``: y (B, ...) -> (B, C, H, W). Images are independent of one another.
    Args:
        network: a preset in ``conf/prior``, ``"skip_unet"`` (2.2 M weights) or
            ``"skip_unet_small"``, or a representation of your own.
        lr: Adam's step size, above 0.
        steps: weight updates per image.
        jitter: standard deviation of the noise added to the latent at every step, at least 0.
        averaging: weight of the past in the averaged output, in [0, 1), 0 for no averaging; None
            for 0.99, or no averaging with ``stopping``, which returns single iterates.
        stopping: a preset in ``conf/callbacks``, ``"es_wmv"``, ``"es_emv"``, ``"sv_es"`` or
            ``"discrepancy"``, or a hook of your own; None fits to the end.
        execution: how images share the device, and at which precision.
        seed: image i of a batch draws weights, latent and jitter from ``seed + i``.
    Raises:
        UserError: If a preset is unknown.
        ValueError: If a number is out of range.
    References:
        Ulyanov et al. (2018), Deep Image Prior, arXiv:1711.10925.
    Example:
        >>> import deepinv, torch
        >>> from metadip.priors import Latent, LatentNetwork, SkipUNet
        >>> network = SkipUNet(4, out_channels=1, channels=[8], skip_channels=[4])
        >>> tiny = LatentNetwork(network, Latent(4, size_px=16, n_wavelengths=0))
        >>> dip = DIP(tiny, steps=2)
        >>> dip(torch.rand(1, 1, 16, 20), deepinv.physics.Denoising()).shape
        torch.Size([1, 1, 16, 20])
    """

    def __init__(
        self,
        network: str | Representation = "skip_unet",
        *,
        lr: float = 0.01,
        steps: int = 3000,
        jitter: float = 1 / 30,
        averaging: float | None = None,
        stopping: str | Any | None = None,
        execution: Execution | None = None,
        seed: int = 0,
    ) -> None:
        if averaging is None:
            averaging = AVERAGING if stopping is None else 0.0
        hooks: list[Any] = [LatentJitter(jitter)] if jitter else []
        hooks += [OutputEMA(averaging, bias_correction=True)] if averaging else []
        hooks += _hooks_of(stopping) if isinstance(stopping, str) else []
        hooks += [] if stopping is None or isinstance(stopping, str) else [stopping]
        super().__init__(
            _network_of(network) if isinstance(network, str) else network,
            objective=Sum(mse),
            optimizer=Adam(lr=lr),
            steps=steps,
            callbacks=hooks,
            execution=execution,
            seed=seed,
        )


def _network_of(preset: str) -> Representation:
    built: Representation = config.build(
        config.compose("infer", ["method=dip", f"prior={preset}"]).prior
    )
    return built


def _hooks_of(preset: str) -> list[Any]:
    """Return the hooks of a preset except its jitter, which is a separate argument."""
    nodes = config.compose("infer", ["method=dip", f"callbacks={preset}"]).callbacks
    return [config.build(node) for name, node in nodes.items() if name != "jitter"]
