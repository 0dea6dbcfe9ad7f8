"""The autoencoding term: what a network makes of an image shall be that image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metadip.registry import registered
from metadip.types import Look, UserError


@registered("autoencoding")
@dataclass(frozen=True)
class Autoencoding:
    """The squared distance between an image and the input it is made of, times a weight.

    Model:
        lambda ||f_theta(z) - z||^2 / n.
    Args:
        weight: lambda, at least 0.
        input: name of the input.
    Raises:
        ValueError: If ``weight`` is negative.
        UserError: When called, if the representation has no such input or one of another shape.
    References:
        Alkhouri et al. (2024), Image Reconstruction via Autoencoding Sequential Deep Image Prior,
        NeurIPS 2024.
    """

    weight: float
    input: str = "z"

    def __post_init__(self) -> None:
        """Check the range."""
        if not self.weight >= 0:
            raise ValueError(f"weight must be at least 0, got {self.weight}")

    def __call__(self, look: Look) -> Tensor:
        """Return the weighted squared distance of each image."""
        z, x = look.inputs.get(self.input), look.estimate.x
        if z is None or z.shape != x.shape:
            found = {name: tuple(tensor.shape) for name, tensor in look.inputs.items()}
            raise UserError(
                f"autoencoding needs an input {self.input!r} that is an image {tuple(x.shape)}; "
                f"the prior has {found}: take prior=aseq_dip"
            )
        return self.weight * (x - z).square().flatten(1).mean(dim=1)
