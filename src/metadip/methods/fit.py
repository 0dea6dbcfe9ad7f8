"""The DIP family as a deepinv Reconstructor: prior, objective, update rule, number of steps."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from deepinv.models import Reconstructor
from deepinv.physics import Physics
from torch import Tensor

from metadip.fitting import Execution, MomentumSGD, fit
from metadip.fitting.rules import Optimizer
from metadip.methods.exact_data import with_exact_data
from metadip.methods.method import check_known
from metadip.methods.trust import better_methods
from metadip.physics.scaling import rescaled
from metadip.physics.splitting import ImageShape, Measured, split
from metadip.prior_files import DEFAULT
from metadip.priors import Representation
from metadip.types import FitResult, InverseProblem, Objective, UserError

logger = logging.getLogger(__name__)
LARGER_STEP = 1e-3  # of Adam past the learned ones; it helped at 128 px (benchmarks/beyond.py)
LARGER = 1.5  # times the size that a prior was learned at: from there on its loss is reported


class FitReconstructor(Reconstructor):
    """Reconstruct each image of a batch by fitting a network's weights to its measurement.

    Model:
        x_hat = f_theta(z) after ``steps`` updates of theta on the objective of A(f_theta(z))
        against y, or the iterate that a stopping rule among the callbacks chooses.
    Shape:
        ``forward(y, physics)``: y (B, ...) -> (B, C, H, W). Images are independent of one another.
    Args:
        prior: where fits start; see ``Representation``.
        objective: what is minimised.
        optimizer: the update rule.
        steps: weight updates per image, at least 0.
        callbacks: hooks such as ``metadip.callbacks.OutputEMA``; copied for every call.
        execution: see ``fit``.
        rescale: bring each operator to the scale of ``operator_scale`` inside the objective, for
            step sizes that were learned at that scale. Rules such as Adam do not need it.
        seed: image i of a batch draws its random stream from ``seed + i``.
    Raises:
        ValueError: See ``fit``; when called, if the image shape cannot be inferred from y and
            physics.
    Example:
        >>> import deepinv
        >>> from metadip.fitting import Adam, Sum, mse
        >>> from metadip.priors import Latent, LatentNetwork, SkipUNet
        >>> network = SkipUNet(4, out_channels=1, channels=[8], skip_channels=[4])
        >>> prior = LatentNetwork(network, Latent(4, size_px=16, n_wavelengths=0))
        >>> dip = FitReconstructor(prior, objective=Sum(mse), optimizer=Adam(lr=0.01), steps=2)
        >>> dip(torch.rand(2, 1, 16, 16), deepinv.physics.Denoising()).shape
        torch.Size([2, 1, 16, 16])
    """

    def __init__(
        self,
        prior: Representation,
        *,
        objective: Objective,
        optimizer: Optimizer,
        steps: int,
        callbacks: Sequence[Any] = (),
        execution: Execution | None = None,
        rescale: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(device=next(prior.parameters()).device)
        self.prior, self.objective, self.optimizer = prior, objective, optimizer
        self.steps, self.callbacks = steps, list(callbacks)
        self.execution, self.rescale, self.seed = execution or Execution(), rescale, seed

    @property
    def image_channels(self) -> int:
        """Channels of the images that the network generates."""
        return self.prior.image_channels

    def check(self, problem: InverseProblem, *, task: str) -> None:
        """Raise if the operator is not known, the prior cannot start, or the rule does not fit."""
        check_known(problem, task=task)
        prior = self.prior
        try:
            prior = prior.with_channels(problem.image_shape[0])
        except ValueError as error:
            raise UserError(f"{task} does not suit the prior: {error}") from error
        check_start(prior, self.optimizer, problem, task=task)

    def forward(
        self,
        y: Measured,
        physics: Physics,
        *,
        image_shape: ImageShape | None = None,
        exact: bool | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the reconstructions of a batch of measurements, see ``splitting.split``.

        Args:
            y: measurements of a batch.
            physics: their operator.
            image_shape: (C, H, W), if y and physics do not tell.
            exact: make images agree with y, see ``with_exact_data``; None does so where the noise
                model of a linear operator has standard deviation 0.
            kwargs: ignored, as by other Reconstructors.
        """
        problems = split(y, physics, image_shape=image_shape, seed=self.seed)
        if self.rescale:
            problems = rescaled(problems)
        pairs = zip(problems, self.reconstruct(problems), strict=True)
        agreed = [with_exact_data(*pair, exact=exact, clip=False) for pair in pairs]
        return torch.cat([result.x_hat for result in agreed])

    def reconstruct(
        self, problems: Sequence[InverseProblem], *, hooks: Sequence[Any] = ()
    ) -> list[FitResult]:
        """Fit every problem; ``hooks`` come after the callbacks. Results include curves.

        A message is logged once if images are much larger than those the prior was learned on.
        """
        learned_px = (not self.prior.any_size and self.prior.learned_px) or math.inf
        larger = [p for p in problems if max(p.image_shape[1:]) > LARGER * learned_px]
        if larger:
            _tell_of_larger_images(
                int(learned_px), f"ckpt={DEFAULT}, {better_methods(larger[0])}",
                larger_steps=_could_step_further(self.optimizer),
            )  # fmt: skip
        return fit(
            problems,
            self.prior,
            self.objective,
            self.optimizer,
            steps=self.steps,
            hooks=[*copy.deepcopy(self.callbacks), *hooks],
            execution=self.execution,
        )


def check_start(
    prior: Representation, optimizer: Optimizer, problem: InverseProblem, *, task: str
) -> None:
    """Raise ``UserError`` if a prior cannot start from a problem, or the rule does not fit it."""
    try:
        start = prior.start(problem)
    except ValueError as error:
        raise UserError(f"{task} does not suit the prior: {error}") from error
    try:
        optimizer.bind(start)
    except ValueError as error:
        raise UserError(f"the optimizer does not suit the prior: {error}") from error


@cache
def _tell_of_larger_images(learned_px: int, better: str, *, larger_steps: bool) -> None:
    logger.warning(
        "images of more than %d px lose quality under this prior, which was learned at %d px and "
        "knows its place there: better for them may be %s; or make them smaller (image_size=%d)%s",
        LARGER * learned_px, learned_px, better, learned_px,
        f", or try method.adam_lr={LARGER_STEP:g} fit.steps=100" if larger_steps else "",
    )  # fmt: skip


def _could_step_further(rule: Optimizer) -> bool:
    if not isinstance(rule, MomentumSGD):
        return False
    return rule.beyond == "adam" and rule.adam_lr < LARGER_STEP
