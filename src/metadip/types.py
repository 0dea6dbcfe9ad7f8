"""What every part of metadip may import: problems, the state of a fit, results, Protocols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import torch
    from deepinv.physics import Physics
    from torch import Tensor


Reading: TypeAlias = "Callable[[Tensor, Tensor | None], Tensor]"


class UserError(Exception):
    """A mistake of the user: one line that says what was wrong, with the value, and what to do.

    The scripts print it and exit with code 2; no traceback unless ``debug=true``.
    """


class CleanImage(NamedTuple):
    """One ground-truth image as a dataset yields it.

    Shape:
        ``x``: (C, H, W), float32 in [0, 1].
    """

    x: Tensor
    index: int  # type: ignore[assignment]  # a name, not the method of tuple
    name: str
    epoch: int = 0


@dataclass(frozen=True)
class InverseProblem:
    """One image's measurement y = N(A(x)), with what is known about how it was taken.

    Shape:
        ``y``: (1, ...), whatever ``physics.A`` returns for a batch of one. ``x``: (1, C, H, W) or
        None.
    Args:
        y: measurement.
        physics: forward operator; ``physics.A`` is noiseless and differentiable.
        image_shape: (C, H, W) of the unknown image.
        x: ground truth; read by oracle hooks and metrics only.
        name: what the image is called in results, usually its file stem.
        seed: starts the random stream of this image's fit.
        scale: what the objective multiplies A(x) and y by, so that step sizes learned where
            E||A x||^2 = ||x||^2 fit this operator. Whoever makes the problem sets it; ``physics``,
            ``y`` and noise levels stay in the units in which they were measured.
        reading: (x_hat, x) -> what is shown and scored of a reconstruction, such as the magnitude
            of a complex object; None: the reconstruction itself.
    """

    y: Tensor
    physics: Physics
    image_shape: tuple[int, int, int]
    x: Tensor | None = None
    name: str = ""
    seed: int = 0
    scale: float = 1.0
    reading: Reading | None = None

    def read(self, x_hat: Tensor) -> Tensor:
        """Return what is shown and scored of a reconstruction."""
        return x_hat if self.reading is None else self.reading(x_hat, self.x)

    def to(self, device: torch.device | str) -> InverseProblem:
        """Return the same problem with its tensors and operator on ``device``."""
        x = None if self.x is None else self.x.to(device)
        return replace(self, y=self.y.to(device), physics=self.physics.to(device), x=x)


class Task(Protocol):
    """What is to be undone: turns a clean image into an inverse problem."""

    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); operator and noise come from ``seed`` alone."""
        ...


class Objective(Protocol):
    """What a fit minimises, one value per image."""

    def __call__(self, x_hat: Tensor, y_hat: Tensor, y: Tensor) -> Tensor:
        """Return the loss (B,) of ``x_hat`` (B, C, H, W) that measures as ``y_hat`` (B, ...)."""
        ...


@dataclass
class FitState:
    """What a hook sees, and may change, while N images are fitted.

    Images that have stopped leave the batch: tensors named "active" below have A <= N rows, row i
    of them belonging to image ``active[i]``.

    Shape:
        ``active``: (A,) int64. ``z``, ``z_input``: (A, Cz, H, W). ``x_hat``: (A, C, H, W).
        ``loss``: (A,). ``output``: (N, C, H, W). Each curve: (N, n_steps + 1), NaN where nothing
        was recorded.
    Args:
        problems: the N problems.
        n_steps: planned number of weight updates.
        step: updates made before ``x_hat`` was computed, 0 to ``n_steps`` inclusive.
        z: latents, constant during the fit.
        z_input: what enters the network at this step; set ``z_input`` in ``on_step_start`` to
            perturb it.
        x_hat: reconstructions of this step, detached.
        loss: data term plus regularisers of this step, detached.
        network: f_theta of the active images with the weights of this step, for a hook that wants
            another look, say at ``z`` where ``z_input`` was perturbed.
        output: what the fit will return; the loop writes ``x_hat`` there each step, hooks may
            overwrite it.
        generators: one random stream per image (N of them), on the fit's device.
        rollbacks: how often each image was taken back after a divergence.
        taken_back: images taken back at this step, and the step whose weights they return to: the
            loss is NaN, ``x_hat`` and ``output`` are those of that step.
    """

    problems: Sequence[InverseProblem]
    n_steps: int
    active: Tensor
    z: Tensor
    generators: Sequence[torch.Generator]
    output: Tensor
    z_input: Tensor = field(init=False)
    x_hat: Tensor = field(init=False)
    loss: Tensor = field(init=False)
    network: Callable[[Tensor], Tensor] = field(init=False)
    step: int = 0
    curves: dict[str, Tensor] = field(default_factory=dict)
    stop_steps: dict[int, int] = field(default_factory=dict)
    stop_reasons: dict[int, str] = field(default_factory=dict)
    rollbacks: dict[int, int] = field(default_factory=dict)
    taken_back: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start with an unperturbed latent."""
        self.z_input = self.z

    def record(self, name: str, values: Tensor) -> None:
        """Store one value per active image (A,) in curve ``name`` at the present step."""
        if name not in self.curves:
            shape = (len(self.problems), self.n_steps + 1)
            self.curves[name] = values.new_full(shape, float("nan"))
        self.curves[name][self.active, self.step] = values

    def stop(self, finished: Tensor, reason: str) -> None:
        """Stop the active images where ``finished`` (A,) is true; they leave after this step."""
        for image in self.active[finished].tolist():
            self.stop_steps.setdefault(image, self.step)
            self.stop_reasons.setdefault(image, reason)


class FitResult(NamedTuple):
    """What a fit found for one image.

    Shape:
        ``x_hat``: (1, C, H, W). Each curve: (steps + 1,), one value per step from 0 to ``steps``.
    Args:
        x_hat: the reconstruction, clipped nowhere.
        steps: weight updates made.
        stop_step: step at which a stopping rule ended the fit, None if it ran to the end.
        stop_reason: in words, None if it ran to the end.
        seconds: wall time; images fitted together share the time of their batch equally.
        curves: ``loss`` and whatever hooks recorded (``psnr_db``, ``variance`` ...).
        rollbacks: how often the image was taken back after a divergence.
    """

    x_hat: Tensor
    steps: int
    stop_step: int | None
    stop_reason: str | None
    seconds: float
    curves: dict[str, Tensor]
    rollbacks: int = 0
