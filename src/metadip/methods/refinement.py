"""Plug-and-play ADMM from the result of another method."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache, partial

import torch
from torch import Tensor

from metadip.methods.denoisers import Denoiser
from metadip.methods.iteration import Iterative
from metadip.methods.method import Method
from metadip.methods.pnp import check_pnp, images_from, strengths
from metadip.physics.noise_level import expected_noise_energy
from metadip.types import InverseProblem, UserError

logger = logging.getLogger(__name__)


class Refinement(Iterative):
    """Reconstruct by a method, then refine its image by plug-and-play ADMM.

    Model:
        The iterations of ``PnPADMM`` from the image of ``first`` in place of A^T y, with strengths
        that fall geometrically from ``first_strength`` to ``strength``. A learned prior comes near
        in a few steps; the iterations, in which y is weighed against the denoiser anew each time,
        then gain most where y has no noise; where it has, they lose, and a warning says so once.
    Shape:
        ``forward(y, physics)``: y (B, ...) -> (B, C, H, W). Images are independent of one another.
    Args:
        denoiser: see ``PnPADMM``.
        first: makes the image to start from, step 0 of the curves.
        first_strength: noise level of the denoiser in the first iteration, in [0, 1] intensity, at
            least ``strength``.
        strength: in the last, above 0.
        penalty: rho, above 0.
        iterations: at least 1.
    Raises:
        UserError: If a number is out of range; when called, if ``first`` or ``PnPADMM`` does not
            serve the problem.
    Cost: that of ``first``, and ``iterations`` calls of the denoiser per image.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        first: Method,
        first_strength: float,
        strength: float,
        penalty: float,
        iterations: int,
    ) -> None:
        if not (first_strength >= strength > 0 and penalty > 0 and iterations >= 1):
            raise UserError(
                "method=refined needs first_strength >= strength > 0, penalty > 0 and "
                f"iterations >= 1, got {first_strength}, {strength}, {penalty} and {iterations}"
            )
        levels = strengths(strength, iterations, first_strength)
        images = partial(self._images_after, levels=levels, penalty=penalty)
        super().__init__(denoiser, images=images, steps=iterations, check=check_pnp, rescale=True)
        self.first = first

    def check(self, problem: InverseProblem, *, task: str) -> None:
        """Raise ``UserError`` if one of both methods does not serve a problem."""
        with torch.inference_mode(False), torch.enable_grad():
            self.first.check(problem, task=task)
        super().check(problem, task=task)
        if expected_noise_energy(problem) is not None:
            _tell_of_noise()

    def _images_after(
        self, problem: InverseProblem, denoiser: Denoiser, *, levels: list[float], penalty: float
    ) -> Iterator[Tensor]:
        with torch.enable_grad():  # the iterations run without
            (found,) = self.first.reconstruct([problem])
        yield from images_from(found.x_hat, problem, denoiser, levels=levels, penalty=penalty)


@cache
def _tell_of_noise() -> None:
    logger.warning(
        "y has noise, and method=refined was made for measurements without: method=metadip is "
        "better for it"
    )
