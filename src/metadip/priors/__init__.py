"""Priors: networks f_theta and the latents z that they turn into images."""

from __future__ import annotations

from typing import Any

from torch import nn

from metadip.priors.inputs import BackProjection, Coordinates, NetworkInput
from metadip.priors.latent import Latent
from metadip.priors.prior import Prior, draw_weights
from metadip.priors.siren import Siren
from metadip.priors.skip_unet import SkipUNet

# All that a file may name; nothing else is ever built from a checkpoint.
NETWORKS: dict[str, type[nn.Module]] = {"skip_unet": SkipUNet, "siren": Siren}
INPUTS: dict[str, type[nn.Module]] = {
    "noise": Latent,
    "coordinates": Coordinates,
    "back_projection": BackProjection,
}


def network_from_description(description: dict[str, Any]) -> nn.Module:
    """Build a network from the plain description that a checkpoint carries.

    Raises:
        ValueError: the architecture is not in the registry, or its arguments do not fit.
    """
    return _from_description("architecture", NETWORKS, dict(description))


def input_from_description(description: dict[str, Any]) -> NetworkInput:
    """Build what enters the network from its plain description; without a type it is noise.

    Raises:
        ValueError: see ``network_from_description``.
    """
    return _from_description("network input", INPUTS, {"type": "noise", **description})  # type: ignore[return-value]


def _from_description(
    what: str, known: dict[str, type[nn.Module]], arguments: dict[str, Any]
) -> nn.Module:
    kind = arguments.pop("type", None)
    if kind not in known:
        raise ValueError(f"unknown {what} {kind!r}; known: {', '.join(known)}")
    try:
        return known[kind](**arguments)
    except TypeError as error:
        raise ValueError(f"{what} {kind!r} does not take these arguments: {error}") from None


__all__ = [
    "INPUTS",
    "NETWORKS",
    "BackProjection",
    "Coordinates",
    "Latent",
    "NetworkInput",
    "Prior",
    "Siren",
    "SkipUNet",
    "draw_weights",
    "input_from_description",
    "network_from_description",
]
