"""What far-field amplitudes cannot tell: global phase, shift, and conjugation with a turn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metadip.physics.far_field import as_complex, as_parts, magnitude_of
from metadip.physics.shifts import moved, off_centre

SUPPORT = 0.1  # of the largest magnitude: where a phase means something


@dataclass(frozen=True, eq=False)
class AlignedObject:
    """Read an object known up to its trivial symmetries: the magnitude, aligned to the truth.

    Without a truth, the magnitude with its mass in the centre.

    Args:
        truth: the object (1, C, H, W), or None; then the magnitude that is given is aligned to.
    """

    truth: Tensor | None = None

    def __call__(self, x_hat: Tensor, x: Tensor | None) -> Tensor:
        """Return the magnitude (1, 1, H, W)."""
        return magnitude_of(self.aligned(x_hat, x))

    def aligned(self, x_hat: Tensor, x: Tensor | None) -> Tensor:
        """Return the object (1, C, H, W) without its symmetries."""
        if self.truth is not None:
            return aligned(x_hat, self.truth.to(x_hat))
        if x is not None:
            return aligned(magnitude_of(x_hat), x.to(x_hat))
        down, right = off_centre(magnitude_of(x_hat))
        return moved(x_hat, -down, -right)

    def pictures(self, x_hat: Tensor, x: Tensor | None) -> dict[str, Tensor]:
        """Return magnitude, phase (from black at -pi to white at pi) and support."""
        found = self.aligned(x_hat, x)
        size = magnitude_of(found)
        inside = size > SUPPORT * size.max()
        shown = {"magnitude": size / size.max().clamp(min=1e-12), "support": inside.to(size)}
        if found.shape[1] > 1:
            phase = as_complex(found).angle()[:, None] / (2 * math.pi) + 0.5
            shown["phase"] = torch.where(inside, phase, torch.full_like(phase, 0.5))
        return shown

    def scores(self, x_hat: Tensor, x: Tensor | None) -> dict[str, float]:
        """Return the relative error of the object, and the PSNR of its phase (range 2 pi).

        The phase is compared, up to whole turns, where the magnitude of the truth is at least a
        tenth of its largest; where nothing was found, it is half a turn off.
        """
        if self.truth is None:
            return {}
        truth = self.truth.to(x_hat)
        found = aligned(x_hat, truth)
        scored = {"relative_error": float((found - truth).norm() / truth.norm())}
        if truth.shape[1] > 1:
            u, v = as_complex(found), as_complex(truth)
            inside = v.abs() >= SUPPORT * v.abs().max()
            error = (u * v.conj()).angle()
            error = torch.where(u == 0, torch.full_like(error, math.pi), error)[inside]
            mean_square = float(error.square().mean().clamp(min=1e-20))
            scored["phase_psnr_db"] = 10 * math.log10((2 * math.pi) ** 2 / mean_square)
        return scored


def aligned(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return the object nearest to ``x`` among all that give the amplitudes of ``x_hat``.

    Model:
        argmin over whole shifts s, a turn by 180 degrees with conjugation, and (for complex
        objects) phases t of ||x - exp(i t) x_hat(. - s)||, what leaves the frame being lost.
    Shape:
        (1, C, H, W) each.
    """
    real = x.shape[1] == 1
    target, own = as_complex(x).to(torch.complex128), as_complex(x_hat).to(torch.complex128)
    best, least = own, math.inf
    for turned in (own, own.conj().flip(-1, -2)):
        error, shift, factor = _nearest(turned, target, real=real)
        if error < least:
            least = error
            parts = moved(as_parts(turned, 2), *shift)
            best = factor * as_complex(parts)
    return as_parts(best, int(x.shape[1])).to(x_hat)


def upright(x: Tensor) -> Tensor:
    """Return an object (1, C, H, W) turned by a global phase so that its sum is not negative."""
    u = as_complex(x)
    total = complex(u.sum())
    turn = total.conjugate() / abs(total) if abs(total) else 1.0
    return as_parts(turn * u, int(x.shape[1])) if x.shape[1] > 1 else x


def _nearest(u: Tensor, target: Tensor, *, real: bool) -> tuple[float, tuple[int, int], complex]:
    """Return error, shift and phase factor of the best alignment without a turn."""
    height, width = u.shape[-2:]
    size = (2 * height, 2 * width)
    products = torch.fft.ifft2(
        torch.fft.fft2(target, s=size) * torch.fft.fft2(u, s=size).conj()
    )  # <target, u shifted by s>, for every s
    frame = torch.fft.fft2(torch.ones_like(u), s=size)
    energy = u.abs().square().to(u.dtype)
    kept = torch.fft.ifft2(frame * torch.fft.fft2(energy, s=size).conj()).real
    gain = products.real if real else products.abs()
    errors = (kept - 2 * gain)[0]
    row, column = divmod(int(errors.argmin()), size[1])
    product = complex(products[0, row, column])
    factor = 1.0 if real or not product else product / abs(product)
    shift = (row - size[0] * (row >= height), column - size[1] * (column >= width))
    return float(errors[row, column]), shift, factor
