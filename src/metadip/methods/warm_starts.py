"""Other ways to begin a fit well, the honest rivals of a meta-learned start."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from metadip.methods.fit import FitReconstructor
from metadip.types import FitResult, FitState, InverseProblem, Objective, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from metadip.fitting import Execution
    from metadip.fitting.optimizers import Optimizer
    from metadip.priors import Prior

SAMPLE_PICTURE = "chelsea.png"  # of scikit-image; none that other presets restore


def from_weights(
    ckpt: str,
    *,
    objective: Objective,
    optimizer: Optimizer,
    steps: int,
    seed: int,
    callbacks: Sequence[Any] = (),
    execution: Execution | None = None,
) -> FitReconstructor:
    """Fit from learned weights by a rule that was not learned with them.

    With weights of ``experiment=denoiser64`` this is the supervised warm start: a network trained
    as an ordinary denoiser, then fitted to the measurement.

    Args:
        ckpt: name of a released prior, a ``.safetensors`` file, or a checkpoint of training.
        objective: what is minimised.
        optimizer: the update rule.
        steps: weight updates per image.
        seed: starts the random streams of the fits.
        callbacks, execution: see ``FitReconstructor``.
    Raises:
        UserError: see ``metadip.checkpoint.load_prior``.
    References:
        Barbano et al. (2021), An Educated Warm Start for Deep Image Prior-based Micro CT
        Reconstruction, arXiv:2111.11926.
    """
    from metadip.checkpoint import load_prior

    prior = load_prior(ckpt).prior
    return FitReconstructor(
        prior,
        objective=objective,
        optimizer=optimizer,
        steps=steps,
        callbacks=callbacks,
        execution=execution,
        seed=seed,
    )


def from_single_image(
    prior: Prior,
    *,
    objective: Objective,
    optimizer: Optimizer,
    steps: int,
    image: str | None,
    size_px: int,
    image_steps: int,
    seed: int,
    callbacks: Sequence[Any] = (),
    execution: Execution | None = None,
) -> FitReconstructor:
    """Fit from the weights that explain one other, clean image.

    Args:
        prior: an untrained network and its latent.
        objective: what is minimised, in both fits.
        optimizer: the update rule, in both fits.
        steps: weight updates per image.
        image: file of the clean image; None takes a picture that ships with scikit-image.
        size_px: side to which it is cropped and resized.
        image_steps: weight updates on the clean image, made once.
        seed: of the weights and the latent that the clean image is fitted from, and of the fits.
        callbacks, execution: see ``FitReconstructor``.
    Raises:
        UserError: ``image`` cannot be read, or a number is below 1.
    References:
        Darestani and Heckel (2021), Accelerated MRI with Un-trained Neural Networks,
        arXiv:2007.02471 (a warm start from another image).
    """
    from metadip.data import crop_and_resize, read_image, sample_picture

    if min(size_px, image_steps) < 1:
        raise UserError(
            f"method.size_px={size_px} and method.image_steps={image_steps} must be at least 1"
        )
    path = sample_picture(SAMPLE_PICTURE) if image is None else image
    x = read_image(path, channels=prior.image_channels)
    x = crop_and_resize(x, None, size_px, str(path))[None]

    return StartsFromImage(
        prior,
        x,
        image_steps,
        objective=objective,
        optimizer=optimizer,
        steps=steps,
        callbacks=callbacks,
        execution=execution,
        seed=seed,
    )


class StartsFromImage(FitReconstructor):
    """Fit the clean image when the first measurement comes: before, it may be for nothing."""

    def __init__(self, prior: Prior, x: Tensor, image_steps: int, **settings: Any) -> None:
        super().__init__(prior, **settings)
        self.x, self.image_steps, self.started = x, image_steps, False

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Fit every problem, from the weights that explain the clean image."""
        if not self.started:
            x, steps = self.x.to(next(self.prior.parameters()).device), self.image_steps
            self.prior = _fitted(
                self.prior, x, self.objective, self.optimizer, steps=steps, seed=self.seed
            )
            self.started = True
        return super().reconstruct(problems, hooks=hooks)


def _fitted(
    prior: Prior, x: Tensor, objective: Objective, optimizer: Optimizer, *, steps: int, seed: int
) -> Prior:
    """Return a learned prior whose weights explain the clean image ``x`` (1, C, H, W)."""
    from metadip.callbacks import FitCallback
    from metadip.fitting import fit
    from metadip.physics import Denoise
    from metadip.priors import draw_weights

    start = copy.deepcopy(prior)
    start.latent.redraw(seed, max(x.shape[-2:]))
    start.network, start.learned = draw_weights(start.network, seed=seed), True

    class KeepWeights(FitCallback):
        def on_reconstruction_end(self, state: FitState) -> None:
            weights = dict(start.network.named_parameters())
            with torch.no_grad():
                torch._foreach_copy_(list(weights.values()), state.network.params)  # type: ignore[attr-defined]

    problem = Denoise(0.0, clip=False).measure(x, seed=seed)
    fit([problem], start, objective, optimizer, steps=steps, hooks=[KeepWeights()])
    return start
