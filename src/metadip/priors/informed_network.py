"""A network that corrects the image that agrees with the measurement: an informed prior."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metadip.physics.jpeg import JPEGCompression
from metadip.physics.linearised import (
    constant_fit,
    correction,
    coverage,
    is_identity,
    smooth_fit,
)
from metadip.priors.representation import Representation, draw_weights
from metadip.priors.tiling import in_tiles
from metadip.registry import registered
from metadip.seeding import Stream, seed_of
from metadip.types import Estimate, InverseProblem, Named, Start

TOGETHER = 3  # channels that the network sees together, those of a colour image
DENOISING = ("z", "mirrored")  # the inputs of a denoiser
ALL = 4 * TOGETHER + 1  # channels of everything that a network can be given


@registered("informed_network", apart=("learned", "learned_px"))
class InformedNetwork(Representation):
    """Correct the present image after a step towards the measurement, again and again.

    Model:
        x_k = f_theta(z_k, x_{k-1}, q_k, s_k, w). z_k = x_{k-1} + eta_k d, where d is the steepest
        descent of ||A(x) - y||^2 at x_{k-1} with exact line search; q_k = x_{k-1} + the correction
        by several conjugate gradients; s_k = ||y - A(x_{k-1})|| / sqrt(N) at the scale of the
        problem, which is how far x_{k-1} is from the truth if A is random. x_{-1} is the smooth
        image that explains y, see ``smooth_fit``, and w what the measurement keeps of a constant
        image, its mask in inpainting. eta_k is learned per step; the last one is repeated. d comes
        by automatic differentiation, so any differentiable operator serves, linear or not.

        In every second step f_theta sees its inputs mirrored, left for right, and its output is
        mirrored back: its errors there are others, and do not add up from step to step.

        Where A is the identity, nothing can be learned from y twice: x_k = g_phi(y), a network for
        denoising, which sees y mirrored in every second step, too. So two images take turns, and
        ``Converged`` returns their mean. Without g_phi such problems are solved as all others.

        Meta-gradients do not pass from a step to those before it: each step learns to improve the
        images that it meets.
    Shape:
        Inputs ``z``, ``x``, ``q``, ``w`` (B, C, H, W), ``s`` and ``mirrored`` (B, 1), of which
        g_phi needs ``z`` and ``mirrored``. The network takes z, x, q, a map of s, and w, or z alone
        if it has as many channels as an image. Colour images are seen whole; the channels of others
        one by one, each as a grey colour image.
    Args:
        network: corrects the first three of its channels.
        denoiser: g_phi, which takes and makes three channels; None for none.
        n_steps: number of eta_k, at least 1.
        iterations: conjugate gradients per step, at least 1.
        smoothness: weight of the roughness of x_{-1}, at least 0.
        learned: whether the stored weights are a learned start.
        learned_px: side of the images that it was learned on, if known.
    Raises:
        ValueError: If a number is below its bound, or the network takes or makes another number of
            channels.
    References:
        Jagatap and Hegde (2019), Algorithmic Guarantees for Inverse Imaging with Untrained Network
        Priors, arXiv:1906.08763 (projected gradient descent with an untrained network). Adler and
        Oktem (2018), Learned Primal-dual Reconstruction, arXiv:1707.06474 (learned iterations that
        see operator and gradient). Terris et al. (2024), Equivariant Plug-and-Play Image
        Reconstruction, arXiv:2312.01831 (a denoiser that sees turned and mirrored images).
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        n_steps: int,
        iterations: int,
        smoothness: float,
        denoiser: nn.Module | None = None,
        learned: bool = False,
        learned_px: int | None = None,
    ) -> None:
        super().__init__(learned=learned, learned_px=learned_px)
        if n_steps < 1 or iterations < 1:
            raise ValueError(
                f"n_steps and iterations must be at least 1, got {n_steps} and {iterations}"
            )
        if not (math.isfinite(smoothness) and smoothness >= 0):
            raise ValueError(f"smoothness must be at least 0, got {smoothness}")
        taken, made = _channels(network)
        if made != TOGETHER or taken not in (TOGETHER, ALL):
            raise ValueError(
                f"the network must make {TOGETHER} channels of {TOGETHER} or {ALL}, got {made} of "
                f"{taken}"
            )
        if denoiser is not None and _channels(denoiser) != (TOGETHER, TOGETHER):
            taken, made = _channels(denoiser)
            raise ValueError(
                f"the denoiser must make {TOGETHER} channels of {TOGETHER}, got {made} of {taken}"
            )
        self.network, self.iterations, self.sees_all = network, iterations, taken > TOGETHER
        self.denoiser, self.smoothness = denoiser, smoothness
        self.log_eta = nn.Parameter(torch.zeros(n_steps))

    @property
    def image_channels(self) -> int:
        """Channels of the images that it sees whole."""
        return TOGETHER

    @property
    def weights(self) -> Named:
        """The weights of the network, then those of the denoiser."""
        return _weights_of(self.network, self.denoiser)

    @property
    def any_size(self) -> bool:
        """The network sees the image."""
        return True

    @property
    def shares_operators(self) -> bool:
        """Least squares are solved for all images of an operator at once."""
        return True

    def named_inputs(self, problem: InverseProblem) -> tuple[str, ...]:
        """Those of denoising are fewer."""
        return DENOISING if self._denoises(problem) else ()

    def with_channels(self, channels: int) -> InformedNetwork:
        """Return the prior itself, which serves any number of channels."""
        return self

    def start(self, problem: InverseProblem) -> Start:
        """Return theta, and the inputs of step 0."""
        network, denoiser = self.network, self.denoiser
        if isinstance(problem.physics, JPEGCompression):
            raise ValueError("no steps lead through a codec: task.codec=false, or method=dip")
        if not self.learned:
            seed = seed_of(problem.seed, Stream.WEIGHTS)
            network = draw_weights(network, seed=seed)
            denoiser = None if denoiser is None else draw_weights(denoiser, seed=seed)
        weights = _weights_of(network, denoiser)
        if self._denoises(problem):
            return Start(weights, _denoising(problem.y, 0))
        constant = constant_fit(problem)
        x = smooth_fit(problem, constant, smoothness=self.smoothness)
        w = coverage(problem, constant) if self.sees_all else x
        return Start(weights, self._inputs(x, w, problem, 0))

    def refresh(
        self, inputs: Named, estimate: Estimate, problem: InverseProblem, step: int
    ) -> Named:
        """Return the inputs made of the image of this step; see ``Representation.refresh``."""
        if self._denoises(problem):
            return _denoising(inputs["z"], step + 1)
        return self._inputs(estimate.x.detach(), inputs["w"].detach(), problem, step + 1)

    def _denoises(self, problem: InverseProblem) -> bool:
        """Whether the denoiser solves a problem."""
        return self.denoiser is not None and is_identity(problem)

    def _inputs(self, x: Tensor, w: Tensor, problem: InverseProblem, step: int) -> Named:
        """Return the inputs of a step, given the image of the step before."""
        found = correction(problem, x, iterations=self.iterations if self.sees_all else 1)
        eta = self.log_eta[min(step, len(self.log_eta) - 1)].exp()
        off = found.residual.abs().square().reshape(len(x), -1).sum(1).sqrt()
        s = problem.scale * off / math.sqrt(x[0].numel())
        return {
            "z": x + eta * found.steepest,
            "x": x,
            "q": x + found.full,
            "s": s.view(-1, 1).to(x.dtype),
            "w": w,
            "mirrored": torch.full_like(s.view(-1, 1), step % 2, dtype=x.dtype),
        }

    def forward(  # type: ignore[override]
        self, size: tuple[int, int], *, z: Tensor, mirrored: Tensor, **others: Tensor
    ) -> Estimate:
        """Correct the images ``z``."""
        if self.denoiser is not None and not others:
            return Estimate(_seen(self.denoiser, [z], None, mirrored))
        if not self.sees_all:
            return Estimate(_seen(self.network, [z], None, mirrored))
        maps = [z, others["x"], others["q"], others["w"]]
        return Estimate(_seen(self.network, maps, others["s"], mirrored))

    def adopt(self, other: Representation) -> None:
        """Take the weights of a denoiser of the same width, or of another informed prior.

        What the network sees beside what the other saw, and blocks that the other lacks, have no
        influence at first. A denoiser becomes that of this prior, too.

        Raises:
            ValueError: If the networks differ elsewhere.
        """
        own, theirs = self.state_dict(), other.state_dict()
        given = {n: t for n, t in theirs.items() if n in own or "denoiser." not in n}
        for name, tensor in own.items():
            found = given.get(name)
            if found is None and "denoiser." in name:
                as_network = theirs.get(name.replace("denoiser.", "network.", 1))
                same = as_network is not None and as_network.shape == tensor.shape
                given[name] = as_network if same else tensor
            elif found is None and ".more." in name:
                given[name] = tensor  # a block of a network that was just drawn adds nothing
            elif name == "log_eta":
                given[name] = _lengthened(found, tensor) if found is not None else tensor
            elif found is not None and found.ndim == 4 and found.shape[1] < tensor.shape[1]:
                missing = tensor.shape[1] - found.shape[1]
                given[name] = F.pad(found, (0, 0, 0, 0, 0, missing))
        try:
            self.load_state_dict(given)
        except RuntimeError as error:
            raise ValueError(" ".join(str(error).split())[:200]) from None


def _channels(network: nn.Module) -> tuple[int, int]:
    """Return how many channels a network takes and makes."""
    return int(network.in_channels), int(network.out_channels)  # type: ignore[arg-type]


def _weights_of(network: nn.Module, denoiser: nn.Module | None) -> Named:
    weights = dict(network.named_parameters(prefix="network"))
    if denoiser is not None:
        weights |= dict(denoiser.named_parameters(prefix="denoiser"))
    return weights


def _denoising(y: Tensor, step: int) -> Named:
    """Return the inputs of a step of denoising."""
    z = y if y.dtype == torch.float64 else y.float()
    return dict(zip(DENOISING, (z, z.new_full((len(z), 1), step % 2)), strict=True))


def _seen(network: nn.Module, maps: list[Tensor], s: Tensor | None, mirrored: Tensor) -> Tensor:
    """Return what a network makes of images (B, C, H, W), and of a number (B, 1) after three."""
    n, channels, *size = maps[0].shape
    if channels != TOGETHER:
        maps = [m.reshape(n * channels, 1, *size).expand(-1, TOGETHER, -1, -1) for m in maps]
        s = s if s is None else s.repeat_interleave(channels, dim=0)
        mirrored = mirrored.repeat_interleave(channels, dim=0)
    if s is not None:
        maps = [*maps[:3], s.view(-1, 1, 1, 1).expand(-1, 1, *size), *maps[3:]]
    turned = mirrored.view(-1, 1, 1, 1) > 0
    seen = torch.cat(maps, dim=1)
    made = in_tiles(network, torch.where(turned, seen.flip(-1), seen))
    made = torch.where(turned, made.flip(-1), made)
    return made if channels == TOGETHER else made.mean(dim=1).view(n, channels, *size)


def _lengthened(given: Tensor, own: Tensor) -> Tensor:
    """Return as many values as ``own`` has; the last one given is repeated."""
    return given[torch.arange(len(own)).clamp(max=len(given) - 1)]
