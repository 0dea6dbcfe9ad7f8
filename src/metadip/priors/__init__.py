"""Priors: networks f_theta and the latents z that they turn into images."""

from __future__ import annotations

from typing import Any

from torch import nn

from metadip.priors.latent import Latent
from metadip.priors.prior import Prior, draw_weights
from metadip.priors.skip_unet import SkipUNet

NETWORKS: dict[str, type[nn.Module]] = {"skip_unet": SkipUNet}
"""Every architecture that a file may name; nothing else is ever built from a checkpoint."""


def network_from_description(description: dict[str, Any]) -> nn.Module:
    """Build a network from the plain description that a checkpoint carries.

    Raises:
        ValueError: the architecture is not in the registry, or its arguments do not fit.
    """
    arguments = dict(description)
    kind = arguments.pop("type", None)
    if kind not in NETWORKS:
        raise ValueError(f"unknown architecture {kind!r}; known: {', '.join(NETWORKS)}")
    try:
        return NETWORKS[kind](**arguments)
    except TypeError as error:
        raise ValueError(f"architecture {kind!r} does not take these arguments: {error}") from None


__all__ = ["NETWORKS", "Latent", "Prior", "SkipUNet", "draw_weights", "network_from_description"]
