"""Save and load a meta-learned prior; loading reads tensors and plain text, and runs no code."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from metadip import registry
from metadip.argument_types import Between, check_types, check_values
from metadip.files import atomic_path
from metadip.fitting import MomentumSGD, Sum
from metadip.fitting.objectives import objective_from_description
from metadip.limits import FLOAT_BYTES, bounded, check_archive
from metadip.prior_files import resolve
from metadip.priors import Representation
from metadip.types import UserError

FORMAT = "metadip-prior-2"
FORMATS = ("metadip-prior-1", FORMAT)  # that can be read
STEPS = 50  # of priors whose files do not say it, as in arXiv:2209.08452
SLACK_BYTES = 2**26  # that a description may ask for beyond its file
LARGEST_WEIGHT = 1e6  # of a trained network; those of the released ones stay below 100
TRAINED_PARTS = ("prior.", "inner_optimizer.")


@dataclass(frozen=True)
class LearnedPrior:
    """Everything that a fit from a meta-learned start needs.

    Args:
        prior: the representation with the learned weights.
        optimizer: the inner rule with the learned step sizes.
        objective: the inner loss of meta-training.
        description: the plain description that the file carries, with notes on data and recipe.
        steps: number of steps after which it was validated.
    """

    prior: Representation
    optimizer: MomentumSGD
    objective: Sum
    description: dict[str, Any]
    steps: int


def save_prior(path: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write a prior in its released form, atomically.

    Args:
        path: ends in ``.safetensors``.
        tensors: ``prior.*`` and ``inner_optimizer.*`` as in the state dict of ``MetaModule``;
            others are left out.
        description: plain description of representation, optimizer and objective, and any notes.
    Raises:
        UserError: If the file cannot be written.
    """
    kept = {
        name: t.detach().cpu().contiguous()
        for name, t in tensors.items()
        if name.startswith(TRAINED_PARTS)
    }
    metadata = {"format": FORMAT, "description": json.dumps(description, sort_keys=True)}
    with atomic_path(path) as temporary:
        try:
            save_file(kept, temporary, metadata=metadata)
        except SafetensorError as error:
            raise OSError(errno.EIO, f"the disk may be full ({error})") from error
        temporary.chmod(0o644)  # safetensors makes it readable by the owner only


def load_prior(name_or_path: str | Path) -> LearnedPrior:
    """Load a released prior by name, a ``.safetensors`` file, or a checkpoint of meta-training.

    Raises:
        UserError: If the file does not exist, is truncated or not one of ours, or if the
            architecture is unknown or the weights do not fit it.
    """
    path = resolve(name_or_path)
    tensors, description = (
        _read_safetensors(path) if path.suffix == ".safetensors" else _read_lightning(path)
    )
    kept = {name: t for name, t in tensors.items() if name.startswith(TRAINED_PARTS)}
    # What is built holds no more than the file, and some of it is drawn twice.
    room = 2 * FLOAT_BYTES * sum(tensor.numel() for tensor in kept.values()) + SLACK_BYTES
    try:
        with bounded("the network that it describes", room):
            prior = _representation(description)
            arguments = {
                **description["optimizer"],
                "lr_bounds": tuple(description["optimizer"]["lr_bounds"]),
            }
            check_types(MomentumSGD, arguments, "optimizer")
            optimizer = MomentumSGD(lr=arguments["lr_bounds"][0], momentum=0.5, **arguments)
            objective = registry.build(
                "objective", objective_from_description(description["objective"])
            )
            steps = description.get("steps", STEPS)
            if not isinstance(steps, int) or steps < 0:
                raise ValueError(f"steps must be a whole number, got {steps!r}")
        parts = nn.ModuleDict({"prior": prior, "inner_optimizer": optimizer})
        parts.load_state_dict(kept)
    except Exception as error:  # what a file describes may raise anything
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} does not hold a prior that this version knows: {reason}"
        ) from error
    _check_values(parts, path)
    parts.requires_grad_(False)
    return LearnedPrior(prior, optimizer, objective, description, steps)


def _check_values(parts: nn.Module, path: Path) -> None:
    """Reject weights that no training gives."""
    for name, tensor in parts.state_dict().items():
        if tensor.is_floating_point() and not bool((tensor.abs() <= LARGEST_WEIGHT).all()):
            raise UserError(
                f"{path} holds NaN, infinite or huge values in {name}: it is damaged, or of a "
                "training that diverged"
            )


def _representation(description: dict[str, Any]) -> Representation:
    """Build the described representation; older files describe network and latent separately."""
    if "representation" in description:
        told, learned_px = description["representation"], description.get("image_px")
    else:
        latent = {"type": "noise", **description["latent"]}
        told = {"type": "latent_network", "network": description["network"], "latent": latent}
        # The oldest files give the size only as that of the latent's noise.
        learned_px = description.get("image_px", latent.get("size_px"))
    check_values({"image_px": Annotated[int, Between(1, 2**14)] | None}, {"image_px": learned_px})
    built = registry.build("architecture", told, learned=True, learned_px=learned_px)
    if not isinstance(built, Representation):
        raise ValueError(f"{told.get('type')!r} is not a representation")
    return built


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except Exception as error:  # damaged files raise anything
        raise UserError(
            f"{path} cannot be read as safetensors, it may be truncated: {error}"
        ) from error
    found = metadata.get("format")
    if found not in FORMATS:
        raise UserError(f"{path} is not a metadip prior: its format is {found!r}, not {FORMAT!r}")
    try:
        description = json.loads(metadata["description"])
    except (KeyError, ValueError, RecursionError) as error:
        raise UserError(f"{path} carries no readable description of its network") from error
    if not isinstance(description, dict):
        raise UserError(f"{path} carries no readable description of its network")
    return tensors, description


def read_checkpoint(path: Path, *, key: str = "ckpt") -> dict[str, Any]:
    """Read a checkpoint of meta-training: tensors and plain values, no code.

    Args:
        path: the file.
        key: the setting that named it, for the message.
    Raises:
        UserError: If it cannot be read, holds code, or is not of meta-training.
    """
    check_archive(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise anything, from KeyError to UnpicklingError
        raise UserError(
            f"{key}={path} cannot be read as a checkpoint, it may be truncated or hold code"
        ) from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not isinstance(content.get("metadip"), dict):
        raise UserError(f"{key}={path} is not a checkpoint of metadip's meta-training")
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UserError(f"{key}={path} is not a checkpoint: its state_dict holds no named tensors")
    checked: dict[str, Any] = content
    return checked


def _read_lightning(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    content = read_checkpoint(path)
    return content["state_dict"], content["metadip"]
