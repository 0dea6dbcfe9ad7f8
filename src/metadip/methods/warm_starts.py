"""Other good starts of a fit, the baselines for a meta-learned one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from deepinv.physics import Denoising

from metadip.checkpoint import load_prior
from metadip.data import crop_and_resize, read_image, sample_picture
from metadip.fitting import fit
from metadip.methods.fit import FitReconstructor
from metadip.types import FitResult, InverseProblem, Objective, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from metadip.fitting import Execution
    from metadip.fitting.rules import Optimizer
    from metadip.priors import Representation

SAMPLE_PICTURE = "chelsea.png"  # of scikit-image; no other preset restores it


def from_weights(
    ckpt: str,
    *,
    objective: Objective,
    optimizer: Optimizer,
    steps: int,
    callbacks: Sequence[Any] = (),
    execution: Execution | None = None,
    seed: int,
) -> FitReconstructor:
    """Fit from learned weights by a rule that was not learned with them.

    With the weights of ``experiment=denoiser64`` this is the supervised warm start: a network
    trained as an ordinary denoiser, then fitted to the measurement.

    Args:
        ckpt: name of a released prior, a ``.safetensors`` file, or a checkpoint of training.
        objective: what is minimised.
        optimizer: the update rule.
        steps: weight updates per image.
        callbacks: see ``FitReconstructor``.
        execution: see ``metadip.fitting.fit``.
        seed: starts the random streams of the fits.
        callbacks, execution: see ``FitReconstructor``.
    Raises:
        UserError: See ``metadip.checkpoint.load_prior``.
    References:
        Barbano et al. (2021), An Educated Warm Start for Deep Image Prior-based Micro CT
        Reconstruction, arXiv:2111.11926.
    """
    return FitReconstructor(
        load_prior(ckpt).prior, objective=objective, optimizer=optimizer, steps=steps,
        callbacks=callbacks, execution=execution, seed=seed,
    )  # fmt: skip


def from_single_image(
    prior: Representation,
    *,
    objective: Objective,
    optimizer: Optimizer,
    steps: int,
    image: str | None,
    size_px: int,
    image_steps: int,
    callbacks: Sequence[Any] = (),
    execution: Execution | None = None,
    seed: int,
) -> SingleImageStart:
    """Fit from the weights that explain one other, clean image.

    Args:
        prior: an untrained representation.
        objective: what is minimised, in both fits.
        optimizer: the update rule, in both fits.
        steps: weight updates per image.
        image: file of the clean image; None takes a picture that ships with scikit-image.
        size_px: side that it is cropped and resized to.
        image_steps: weight updates on the clean image, done once.
        callbacks: of the fits that follow, see ``FitReconstructor``.
        execution: of both fits, see ``metadip.fitting.fit``.
        seed: of the weights that the fit of the clean image starts from, and of the fits.
    Raises:
        UserError: If ``image`` cannot be read, or a number is below 1.
    References:
        Darestani and Heckel (2021), Accelerated MRI with Un-trained Neural Networks,
        arXiv:2007.02471 (a warm start from another image).
    """
    if min(size_px, image_steps) < 1:
        raise UserError(
            f"method.size_px={size_px} and method.image_steps={image_steps} must be at least 1"
        )
    path = sample_picture(SAMPLE_PICTURE) if image is None else image
    x = crop_and_resize(read_image(path, channels=prior.image_channels), None, size_px, str(path))
    return SingleImageStart(
        prior, x[None], image_steps=image_steps, objective=objective, optimizer=optimizer,
        steps=steps, callbacks=callbacks, execution=execution, seed=seed,
    )  # fmt: skip


class SingleImageStart(FitReconstructor):
    """Fit a clean image on the first call, and start every fit from its weights.

    Args:
        prior: an untrained representation.
        clean: the image, (1, C, H, W).
        image_steps: weight updates on it.
        fitting: further arguments of ``FitReconstructor``.
    """

    def __init__(
        self, prior: Representation, clean: Tensor, *, image_steps: int, **fitting: Any
    ) -> None:
        super().__init__(prior, **fitting)
        self.clean, self.image_steps = clean, image_steps

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Fit every problem; see ``FitReconstructor.reconstruct``."""
        if not self.prior.learned:
            self.prior = self._from_clean_image()
        return super().reconstruct(problems, hooks=hooks)

    @torch.inference_mode(mode=False)  # fits need ordinary tensors
    def _from_clean_image(self) -> Representation:
        x = self.clean.to(next(self.prior.parameters()).device)
        problem = InverseProblem(x, Denoising(), (x.shape[1], x.shape[2], x.shape[3]))
        drawn = self.prior.with_weights(self.prior.drawn(self.seed).weights)
        (result,) = fit(
            [problem], drawn, self.objective, self.optimizer, steps=self.image_steps,
            execution=self.execution,
        )  # fmt: skip
        assert result.end is not None
        return drawn.with_weights(result.end.weights)
