"""Hybrid input-output and its relatives: the classical way from far-field amplitudes to objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from metadip.methods.iteration import Iterative
from metadip.physics.far_field import FarField, as_parts
from metadip.seeding import Stream, generator_of
from metadip.types import InverseProblem, UserError

UPDATES = ("hio", "raar")
SHOWN_EVERY = 20  # cycles between the objects that hooks see
FIRST_BLUR_PX, LAST_BLUR_PX = 3.0, 1.0  # of shrink-wrap, falling over the cycles
TINY = 1e-12


class HIO(Iterative):
    """Find the object behind far-field amplitudes by projections in turn.

    Model:
        P_M puts the measured amplitudes into the Fourier transform of u (where the mask is 0, it
        stays); P_S keeps u inside the support, and not negative if it is real. A cycle is
        hio: P_M u where P_S allows it, u - beta P_M u elsewhere; or raar: beta / 2 (R_S R_M + 1) u
        + (1 - beta) P_M u with R = 2 P - 1. At the end come cycles of error reduction, P_S P_M.
        Shrink-wrap: the support starts as the frame of the object, and every ``shrink_every``
        cycles becomes where |P_M u|, blurred by 3 falling to 1 px, exceeds ``threshold`` of its
        largest value. Of several random starts, run at once, the one with the lowest residual
        || m |F P_S P_M u| - y || counts.
    Shape:
        y (1, 1, M, N) -> (1, C, H, W).
    Args:
        update: hio or raar.
        cycles: of hio or raar, at least 1.
        er_cycles: of error reduction after them, at least 0.
        beta: in (0, 1].
        restarts: random starts, at least 1.
        shrink_every: cycles between updates of the support, 0 keeps the frame.
        threshold: of shrink-wrap, in (0, 1).
    Raises:
        UserError: If an argument is out of range; when called, if y has no far-field operator.
    References:
        Fienup (1982), Phase Retrieval Algorithms: A Comparison. Marchesini et al. (2003), X-ray
        Image Reconstruction from a Diffraction Pattern Alone. Luke (2005), Relaxed Averaged
        Alternating Reflections.
    """

    def __init__(
        self,
        *,
        update: str,
        cycles: int,
        er_cycles: int,
        beta: float,
        restarts: int,
        shrink_every: int,
        threshold: float,
    ) -> None:
        if update not in UPDATES:
            raise UserError(f"method.update={update} is unknown; choose from {', '.join(UPDATES)}")
        lowest = {"cycles": 1, "er_cycles": 0, "restarts": 1, "shrink_every": 0}
        given = dict(zip(lowest, (cycles, er_cycles, restarts, shrink_every), strict=True))
        for key, value in given.items():
            if value < lowest[key]:
                raise UserError(f"method.{key}={value} must be at least {lowest[key]}")
        if not 0 < beta <= 1 or not 0 < threshold < 1:
            raise UserError(
                f"method.beta={beta} must be in (0, 1], method.threshold={threshold} in (0, 1)"
            )
        plan = Plan(update, cycles, er_cycles, beta, restarts, shrink_every, threshold)
        super().__init__(
            None,
            images=lambda problem, _: objects(problem, plan),
            steps=-(-(cycles + er_cycles) // SHOWN_EVERY),
            check=_check,
            rescale=False,
        )


@dataclass(frozen=True)
class Plan:
    """The settings of ``HIO``."""

    update: str
    cycles: int
    er_cycles: int
    beta: float
    restarts: int
    shrink_every: int
    threshold: float


def _check(problem: InverseProblem, _: object, task: str) -> None:
    if not isinstance(problem.physics, FarField):
        raise UserError(
            f"method=hio and raar find objects from their far field (task=cdi), not {task}"
        )


def objects(problem: InverseProblem, plan: Plan) -> Iterator[Tensor]:
    """Yield the best object (1, C, H, W) at first, every ``SHOWN_EVERY`` cycles and at the end."""
    cycling, total = Cycling(problem, plan), plan.cycles + plan.er_cycles
    yield cycling.best()
    for cycle in range(1, total + 1):
        cycling.advance(cycle)
        if cycle % SHOWN_EVERY == 0 or cycle == total:
            yield cycling.best()


class Cycling:
    """The objects of all random starts, and their supports.

    Shape:
        ``u``, ``support``: (R, M, N), the frame of the object in the first corner.
    Args:
        problem: with a far field.
        plan: what to do.
    """

    def __init__(self, problem: InverseProblem, plan: Plan) -> None:
        physics, y = problem.physics, problem.y[0, 0]
        self.plan, self.shape = plan, problem.image_shape
        self.amplitude = torch.fft.ifftshift(y)
        self.measured = torch.fft.ifftshift(physics.mask) > 0
        generator = generator_of(problem.seed, Stream.LATENT)
        turns = torch.rand((plan.restarts, *y.shape), generator=generator).to(y)
        start = torch.polar(self.amplitude.expand_as(turns), 2 * torch.pi * turns)
        self.frame = torch.zeros_like(self.measured)
        self.frame[: self.shape[1], : self.shape[2]] = True
        self.support = self.frame.expand(plan.restarts, -1, -1).clone()
        self.u = self.inside(torch.fft.ifft2(start, norm="ortho"))
        self.projected = self.u

    def fitting(self, u: Tensor) -> Tensor:
        """Return P_M u."""
        spectrum = torch.fft.fft2(u, norm="ortho")
        given = self.amplitude * spectrum / spectrum.abs().clamp(min=TINY)
        fitted: Tensor = torch.fft.ifft2(torch.where(self.measured, given, spectrum), norm="ortho")
        return fitted

    def allowed(self, u: Tensor) -> Tensor:
        """Return where P_S leaves u as it is."""
        return self.support & (u.real >= 0) if self.shape[0] == 1 else self.support

    def inside(self, u: Tensor) -> Tensor:
        """Return P_S u."""
        u = self.real_if_asked(u)
        return torch.where(self.allowed(u), u, torch.zeros_like(u))

    def real_if_asked(self, u: Tensor) -> Tensor:
        """Return the real part of a real object."""
        return torch.complex(u.real, torch.zeros_like(u.real)) if self.shape[0] == 1 else u

    def advance(self, cycle: int) -> None:
        """Run one cycle, counted from 1."""
        plan, fitted = self.plan, self.real_if_asked(self.fitting(self.u))
        self.projected = fitted
        if cycle > plan.cycles:
            self.u = self.inside(fitted)
        elif plan.update == "hio":
            self.u = torch.where(self.allowed(fitted), fitted, self.u - plan.beta * fitted)
        else:
            mirrored = 2 * fitted - self.u
            both = 2 * self.inside(mirrored) - mirrored
            self.u = plan.beta / 2 * (both + self.u) + (1 - plan.beta) * fitted
        if plan.shrink_every and cycle % plan.shrink_every == 0 and cycle <= plan.cycles:
            self.shrink(cycle / plan.cycles)

    def shrink(self, share: float) -> None:
        """Draw the support anew around what is bright; ``share`` of the cycles are over."""
        blur_px = FIRST_BLUR_PX * (LAST_BLUR_PX / FIRST_BLUR_PX) ** share
        size = blurred(self.projected.abs() * self.frame, blur_px)
        brightest = size.amax(dim=(-2, -1), keepdim=True)
        self.support = (size > self.plan.threshold * brightest) & self.frame

    def best(self) -> Tensor:
        """Return the object of the start with the lowest residual."""
        kept = self.inside(self.projected)
        found = torch.fft.fft2(kept, norm="ortho").abs()
        gaps = torch.where(self.measured, found - self.amplitude, torch.zeros_like(found))
        row = int(gaps.square().sum(dim=(-2, -1)).argmin())
        framed = kept[row : row + 1, : self.shape[1], : self.shape[2]]
        return as_parts(framed, self.shape[0])


def blurred(x: Tensor, std_px: float) -> Tensor:
    """Return images (..., H, W) blurred by a Gaussian that wraps around."""
    rows, columns = (torch.fft.fftfreq(side, device=x.device) for side in x.shape[-2:])
    squared = rows.square()[:, None] + columns.square()
    response = torch.exp(-2 * (torch.pi * std_px) ** 2 * squared).to(x)
    smooth: Tensor = torch.fft.ifft2(torch.fft.fft2(x) * response).real
    return smooth
