"""Types shared by all parts of metadip: problems, representations, fits, results, Protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import torch
    from deepinv.physics import Physics
    from torch import Tensor

Named: TypeAlias = "Mapping[str, Tensor]"
Reading: TypeAlias = "Callable[[Tensor, Tensor | None], Tensor]"
NOTHING: Named = {}


class UserError(Exception):
    """A user error: one line that says what was wrong, with the value, and what to do.

    The scripts print it and exit with code 2, without a traceback unless ``debug=true``.
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
    """The measurement of one image, y = N(A(x)), and what is known about how it was taken.

    A task may measure several images at once: then the problem holds them all until it is taken
    ``apart``; fits and methods take problems of one image.

    Shape:
        ``y``: (1, ...), whatever ``physics.A`` returns for a batch of one. ``x``: (1, C, H, W) or
        None.
    Args:
        y: measurement.
        physics: forward operator; ``physics.A`` is noiseless and differentiable.
        image_shape: (C, H, W) of the unknown image.
        x: ground truth; read by oracle hooks and metrics only.
        name: of the image in results, usually its file stem.
        seed: of the random streams of this image's fit, see ``metadip.seeding.Stream``.
        scale: factor on A(x) and y in data terms, so that step sizes learned with
            E||A x||^2 = ||x||^2 fit this operator. Set where the problem is made;
            ``physics``, ``y`` and noise levels keep the units in which they were measured.
        reading: maps a reconstruction and the truth (or None) to what is shown and scored; None
            uses the reconstruction itself.
        unknown: arguments of ``physics.A`` that the estimate must give, such as ``("filter",)``;
            without them, A is the true operator, which only scores may use.
    """

    y: Tensor
    physics: Physics
    image_shape: tuple[int, int, int]
    x: Tensor | None = None
    name: str = ""
    seed: int = 0
    scale: float = 1.0
    reading: Reading | None = None
    unknown: tuple[str, ...] = ()

    @property
    def n_images(self) -> int:
        """Number of images measured."""
        return len(self.y)

    def apart(self) -> list[InverseProblem]:
        """Return a problem for each image."""
        if self.n_images == 1:
            return [self]
        truths = [None] * self.n_images if self.x is None else self.x.split(1)
        return [replace(self, y=y, x=x) for y, x in zip(self.y.split(1), truths, strict=True)]

    def read(self, x_hat: Tensor) -> Tensor:
        """Return what is shown and scored for a reconstruction."""
        return x_hat if self.reading is None else self.reading(x_hat, self.x)

    def to(self, device: torch.device | str) -> InverseProblem:
        """Return the same problem with its tensors and operator on ``device``."""
        x = None if self.x is None else self.x.to(device)
        return replace(self, y=self.y.to(device), physics=self.physics.to(device), x=x)


class Task(Protocol):
    """A task: turns a clean image into an inverse problem."""

    def measure(self, x: Tensor, *, seed: int, name: str = "") -> InverseProblem:
        """Measure ``x`` (1, C, H, W); operator and noise depend on ``seed`` only.

        Some tasks measure several images (B, C, H, W) with one operator.
        """
        ...


class Estimate(NamedTuple):
    """What a representation generates for B images.

    Args:
        x: the images (B, C, H, W), first argument of ``physics.A``.
        operator: keyword arguments of ``physics.A``, such as ``{"filter": kernel}`` in blind
            deblurring.
        other: what only objectives read, such as ``{"outliers": ...}``.
    """

    x: Tensor
    operator: Named = NOTHING
    other: Named = NOTHING

    def each(self, change: Callable[[Tensor], Tensor]) -> Estimate:
        """Return the estimate with a function applied to every tensor."""
        operator, other = (
            {name: change(tensor) for name, tensor in named.items()}
            for named in (self.operator, self.other)
        )
        return Estimate(change(self.x), operator, other)

    def detached(self) -> Estimate:
        """Return the estimate without its graph."""
        return self.each(lambda tensor: tensor.detach())


class Start(NamedTuple):
    """Where the fit of one image starts.

    Args:
        weights: of the representation, by parameter name.
        inputs: keyword arguments of its ``forward``, a row per image (1, ...).
    """

    weights: Named
    inputs: Named


class Look(NamedTuple):
    """What an objective sees at one step: B images that share an operator, or one image.

    Shape:
        ``y_hat``, ``y``: (B, ...), at the scale of the problem.
    Args:
        estimate: what was generated.
        y_hat: measurements of the estimate.
        y: the given measurements.
        weights: of the representation, by name; with a leading B if images are stacked.
        inputs: of the representation, with jitter.
        problems: of the B images.
        again: returns the estimate of the same weights at other inputs.
        draw: returns noise N(0, 1) of a tensor's shape (B, ...), each row from its image's stream.
        step: number of updates before this step.
    """

    estimate: Estimate
    y_hat: Tensor
    y: Tensor
    weights: Named
    inputs: Named
    problems: Sequence[InverseProblem]
    again: Callable[..., Estimate]
    draw: Callable[[Tensor], Tensor]
    step: int = 0


Objective: TypeAlias = Callable[[Look], "Tensor"]  # (B,), one value per image


@dataclass
class FitState:
    """What a hook sees and may change while N images are fitted.

    Images that have stopped leave the batch: tensors with A <= N rows hold only active images, and
    their row i belongs to image ``active[i]``.

    Shape:
        ``active``: (A,) int64. ``inputs``, ``jitter``: (A, ...) each. ``weights``: (A, ...) each.
        ``x_hat``: (A, C, H, W). ``loss``, ``misfit``: (A,). ``output``: (N, C, H, W). Each curve:
        (N, n_steps + 1), NaN where nothing was recorded.
    Args:
        problems: the N problems.
        n_steps: planned number of weight updates.
        step: number of updates before ``x_hat`` was computed, 0 to ``n_steps`` inclusive.
        inputs: of the representation at this step, by name.
        jitter: added to the inputs of that name at this step; set it in ``on_step_start``.
        weights: live views of the weights, by name; ``on_update_end`` may change them in place.
        estimate: what was generated at this step, detached; ``x_hat`` are its images.
        loss: objective of this step, detached.
        misfit: its data term alone, never negative, detached.
        again: returns the estimate of the active images at the inputs given by keyword, the other
            inputs being those of this step without jitter.
        output: what the fit will return; the loop writes ``x_hat`` to it at each step, and hooks
            may overwrite it.
        generators: one random stream per image (N of them), on the fit's device.
        rollbacks: how often each image was taken back after a divergence.
        pictures: further images of each problem by name, (N, C, H, W), for the result.
        taken_back: images taken back at this step, and the step whose weights they return to; their
            loss is NaN, and ``x_hat`` and ``output`` are those of that step.
        chosen: of images whose ``output`` is that of an earlier step, see ``choose``.
    """

    problems: Sequence[InverseProblem]
    n_steps: int
    active: Tensor
    inputs: Named
    generators: Sequence[torch.Generator]
    output: Tensor
    again: Callable[..., Estimate]
    jitter: dict[str, Tensor] = field(default_factory=dict)
    weights: Named = field(default_factory=dict)
    estimate: Estimate = field(init=False)
    loss: Tensor = field(init=False)
    misfit: Tensor = field(init=False)
    step: int = 0
    curves: dict[str, Tensor] = field(default_factory=dict)
    stop_steps: dict[int, int] = field(default_factory=dict)
    stop_reasons: dict[int, str] = field(default_factory=dict)
    rollbacks: dict[int, int] = field(default_factory=dict)
    taken_back: dict[int, int] = field(default_factory=dict)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    chosen: dict[int, Estimate] = field(default_factory=dict)

    @property
    def x_hat(self) -> Tensor:
        """The reconstructions of this step."""
        return self.estimate.x

    @x_hat.setter
    def x_hat(self, x: Tensor) -> None:
        """Replace the images of the estimate."""
        self.estimate = getattr(self, "estimate", Estimate(x))._replace(x=x)

    def draw(self, like: Tensor) -> Tensor:
        """Return noise N(0, 1) of a tensor's shape (A, ...), each row from its image's stream."""
        import torch

        streams = [self.generators[image] for image in self.active.tolist()]
        shape, dtype = like.shape[1:], like.dtype
        rows = [torch.randn(shape, generator=g, dtype=dtype, device=g.device) for g in streams]
        return torch.stack(rows).to(like.device)

    def record(self, name: str, values: Tensor) -> None:
        """Store one value per active image (A,) in curve ``name`` at the current step."""
        if name not in self.curves:
            shape = (len(self.problems), self.n_steps + 1)
            self.curves[name] = values.new_full(shape, float("nan"))
        self.curves[name][self.active, self.step] = values

    def choose(self, rows: Sequence[int]) -> None:
        """Keep what else is estimated with the images of these rows, such as their kernels."""
        for row in rows if self.estimate.operator else ():
            kept = self.estimate.each(lambda tensor, row=row: tensor[row : row + 1].clone())  # type: ignore[misc]
            self.chosen[int(self.active[row])] = kept

    def stop(self, finished: Tensor, reason: str) -> None:
        """Stop the active images where ``finished`` (A,) is true; they leave after this step."""
        for image in self.active[finished].tolist():
            self.stop_steps.setdefault(image, self.step)
            self.stop_reasons.setdefault(image, reason)


class FitResult(NamedTuple):
    """The result of a fit for one image.

    Shape:
        ``x_hat``: (1, C, H, W). Each curve: (steps + 1,), one value per step from 0 to ``steps``.
    Args:
        x_hat: the reconstruction, not clipped.
        steps: number of weight updates made.
        stop_step, stop_reason: where a rule ended the fit, and why; None if it ran to the end.
        seconds: wall time; images fitted together share the time of their batch equally.
        curves: ``loss`` and whatever hooks recorded (``psnr_db``, ``variance`` ...).
        rollbacks: how often the image was taken back after a divergence.
        end: the weights and inputs after the last step, from which another fit can start; None
            for methods without any.
        estimate: what they generated last; where the operator is estimated too, at the chosen step.
        checks: what was found out about the result afterwards, in plain numbers and words by name.
        pictures: further images by name, such as the standard deviation of a posterior.
    """

    x_hat: Tensor
    steps: int
    stop_step: int | None
    stop_reason: str | None
    seconds: float
    curves: dict[str, Tensor]
    rollbacks: int = 0
    end: Start | None = None
    estimate: Estimate | None = None
    checks: Mapping[str, Mapping[str, Any]] = {}  # never changed in place
    pictures: Named = NOTHING
