"""Forward operators that deepinv lacks: dense and structured sensing, and magnitudes."""

from __future__ import annotations

import math
from typing import Literal

import torch
from deepinv.physics import LinearPhysics, Physics
from torch import Tensor

from metadip.types import UserError

ImageShape = tuple[int, int, int]
OperatorKind = Literal["gaussian", "structured"]
_FLOAT32_BYTES = 4


class MatrixSensing(LinearPhysics):
    """Measure an image with a given matrix, y = A vec(x).

    Shape:
        ``A``: (B, C, H, W) -> (B, M). ``A_adjoint``: (B, M) -> (B, C, H, W).
    Args:
        matrix: A, (M, C*H*W). If ||A||_F^2 is not C*H*W, give the problem a ``scale``.
        image_shape: (C, H, W).
    Raises:
        ValueError: If the matrix does not have C*H*W columns, or an input does not fit.
    Cost: stores the matrix; each product takes 2*M*N operations.
    """

    matrix: Tensor

    def __init__(self, matrix: Tensor, *, image_shape: ImageShape) -> None:
        if matrix.ndim != 2 or matrix.shape[1] != math.prod(image_shape):
            raise ValueError(
                f"matrix {tuple(matrix.shape)} must have a column per entry of {tuple(image_shape)}"
            )
        super().__init__(img_size=tuple(image_shape))
        self.register_buffer("matrix", matrix)

    def A(self, x: Tensor, **_: object) -> Tensor:
        """Return y = A vec(x)."""
        _check(x, self.img_size, "image")
        return x.flatten(1) @ self.matrix.T

    def A_adjoint(self, y: Tensor, **_: object) -> Tensor:
        """Return A^T y as an image."""
        _check(y, self.matrix.shape[:1], "measurement")
        return (y @ self.matrix).reshape(-1, *self.img_size)


class GaussianSensing(MatrixSensing):
    """Measure an image with a random Gaussian matrix, y = A vec(x), usually M < N = C*H*W.

    Model:
        A_ij ~ N(0, 1/M), so E||A vec(x)||^2 = ||x||^2. Noise is added elsewhere.
    Shape:
        ``A``: (B, C, H, W) -> (B, M). ``A_adjoint``: (B, M) -> (B, C, H, W).
    Args:
        image_shape: (C, H, W).
        n_measurements: M, at least 1.
        seed: seed of the matrix, drawn on the CPU so that it is the same on every device.
        max_bytes: largest float32 matrix that may be drawn.
    Raises:
        ValueError: If ``n_measurements`` is below 1, or an input does not fit.
        UserError: If the matrix would take more than ``max_bytes``.
    Cost: stores M*N floats (M = 3072 at 3 x 64 x 64: 151 MB). Use ``StructuredSensing`` above that.
    Example:
        >>> op = GaussianSensing((1, 8, 8), n_measurements=16, seed=0, max_bytes=2**20)
        >>> op.A(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 16])
    """

    def __init__(
        self, image_shape: ImageShape, *, n_measurements: int, seed: int, max_bytes: int
    ) -> None:
        _check_count(n_measurements)
        check_matrix_size(image_shape, n_measurements, max_bytes=max_bytes)
        generator = torch.Generator().manual_seed(seed)
        size = (n_measurements, math.prod(image_shape))
        matrix = torch.randn(size, generator=generator)
        super().__init__(matrix.div_(math.sqrt(n_measurements)), image_shape=image_shape)
        self.seed = seed


class StructuredSensing(LinearPhysics):
    """Measure an image with a fast random operator that mixes all pixels and channels.

    Model:
        y = sqrt(N/M) S (H D_L) ... (H D_1) vec(x): D_l random signs, H the orthonormal Hartley
        transform over channels, rows and columns, S a random choice of M of the N = C*H*W entries
        without replacement. One layer mixes enough for linear sensing, though its entries follow a
        sine wave; a second layer makes them near Gaussian (kurtosis 3 instead of 1.5), which
        recovery from magnitudes relies on. For M > N, ceil(M/N) independent operators are stacked
        and share the M rows evenly.
        E||A vec(x)||^2 = ||x||^2; A A^T = (N/M) I for M <= N.
    Shape:
        ``A``: (B, C, H, W) -> (B, M). ``A_adjoint``: (B, M) -> (B, C, H, W). Any size.
    Args:
        image_shape: (C, H, W).
        n_measurements: M, at least 1.
        seed: seed of the signs and rows, drawn on the CPU.
        n_layers: L, at least 1.
    Raises:
        ValueError: If ``n_measurements`` or ``n_layers`` is below 1, or an input does not fit.
    Cost: O(L N log N) time, one byte per sign and eight per measurement.
    References:
        Do et al. (2012), Fast and Efficient Compressive Sensing Using Structurally Random Matrices,
        arXiv:1106.5037.
        Bracewell (1983), Discrete Hartley transform.
    Example:
        >>> op = StructuredSensing((3, 7, 9), n_measurements=50, seed=0, n_layers=1)
        >>> op.A_adjoint(op.A(torch.zeros(2, 3, 7, 9))).shape
        torch.Size([2, 3, 7, 9])
    """

    signs: Tensor
    rows: Tensor

    def __init__(
        self, image_shape: ImageShape, *, n_measurements: int, seed: int, n_layers: int
    ) -> None:
        _check_count(n_measurements)
        if n_layers < 1:
            raise ValueError(f"n_layers must be at least 1, got {n_layers}")
        super().__init__(img_size=tuple(image_shape))
        generator = torch.Generator().manual_seed(seed)
        n_entries = math.prod(image_shape)
        n_blocks = -(-n_measurements // n_entries)
        shape = (n_layers, n_blocks, *image_shape)
        coins = torch.randint(0, 2, shape, generator=generator, dtype=torch.int8)
        self.register_buffer("signs", 2 * coins - 1)
        rows = [
            block * n_entries + torch.randperm(n_entries, generator=generator)[: len(part)]
            for block, part in enumerate(torch.arange(n_measurements).tensor_split(n_blocks))
        ]
        self.register_buffer("rows", torch.cat(rows))
        self.scale = math.sqrt(n_entries / n_measurements)
        self.seed, self.n_layers = seed, n_layers

    def A(self, x: Tensor, **_: object) -> Tensor:
        """Return y: every block's mixed image at its chosen rows."""
        _check(x, self.img_size, "image")
        mixed = x[:, None]  # (B, blocks, C, H, W) after the first product
        for signs in self.signs:
            mixed = hartley(signs * mixed)
        return self.scale * mixed.flatten(1)[:, self.rows]

    def A_adjoint(self, y: Tensor, **_: object) -> Tensor:
        """Return A^T y: rows put back, layers undone in reverse, blocks added."""
        _check(y, self.rows.shape, "measurement")
        blocks = self.signs.shape[1:]
        zeros = y.new_zeros(y.shape[0], blocks.numel())
        mixed = zeros.index_copy(1, self.rows, self.scale * y).reshape(-1, *blocks)
        for signs in self.signs.flip(0):
            mixed = signs * hartley(mixed)
        return mixed.sum(1)


class Magnitude(Physics):
    """Measure amplitudes only, y = |B x| for a linear operator B.

    deepinv's ``PhaseRetrieval`` measures the intensity |B x|^2; this is its square root. The
    derivative at zero is taken as 0.

    Shape:
        As ``linear``.
    Args:
        linear: B.
    """

    def __init__(self, linear: LinearPhysics) -> None:
        super().__init__()
        self.B = linear

    def A(self, x: Tensor, **_: object) -> Tensor:
        """Return |B x|."""
        y: Tensor = self.B.A(x)
        return y.abs()

    def A_vjp(self, x: Tensor, v: Tensor) -> Tensor:
        """Return the product of ``v`` with the Jacobian at ``x``: B^T (sign(B x) v)."""
        gradient: Tensor = self.B.A_adjoint(self.B.A(x).sign() * v)
        return gradient

    def A_dagger(self, y: Tensor, x_init: Tensor | None = None) -> Tensor:
        """Return an image with amplitudes close to ``y``, by gradient descent from a flat image.

        The start has the energy of ``y``. Images are not negative, so a flat one correlates with
        the truth and settles the sign.
        """
        if x_init is None:
            flat = torch.ones_like(self.B.A_adjoint(y))
            norms = y.flatten(1).norm(dim=1) / flat.flatten(1).norm(dim=1)
            x_init = flat * norms[:, None, None, None]
        x: Tensor = super().A_dagger(y, x_init)
        return x


def hartley(x: Tensor) -> Tensor:
    """Return the orthonormal discrete Hartley transform of (..., C, H, W) over its last three axes.

    It is the real minus the imaginary part of the Fourier transform, symmetric, and its own inverse
    at every size, so that one function serves the operator and its adjoint.
    """
    spectrum: Tensor = torch.fft.fftn(x, dim=(-3, -2, -1), norm="ortho")
    return spectrum.real - spectrum.imag


def structured_bytes(image_shape: ImageShape, n_measurements: int, *, n_layers: int) -> int:
    """Return the memory of the signs and rows of a structured operator."""
    n_entries = math.prod(image_shape)
    return n_layers * -(-n_measurements // n_entries) * n_entries + 8 * n_measurements


def check_matrix_size(image_shape: ImageShape, n_measurements: int, *, max_bytes: int) -> None:
    """Reject dense matrices that would be too large.

    Raises:
        UserError: If the matrix would take more than ``max_bytes``.
    """
    n_bytes = _FLOAT32_BYTES * n_measurements * math.prod(image_shape)
    if n_bytes > max_bytes:
        raise UserError(
            f"a dense {n_measurements} x {math.prod(image_shape)} Gaussian matrix needs "
            f"{_size(n_bytes)}, more than task.max_bytes={max_bytes} ({_size(max_bytes)}); "
            "use task.operator=structured"
        )


def draw_sensing(
    kind: OperatorKind,
    image_shape: ImageShape,
    *,
    n_measurements: int,
    seed: int,
    max_bytes: int,
    n_layers: int,
) -> GaussianSensing | StructuredSensing:
    """Draw a sensing operator by name.

    Raises:
        UserError: If the operator would need more than ``max_bytes``.
    """
    if kind == "gaussian":
        return GaussianSensing(
            image_shape, n_measurements=n_measurements, seed=seed, max_bytes=max_bytes
        )
    n_bytes = structured_bytes(image_shape, n_measurements, n_layers=n_layers)
    if n_bytes > max_bytes:
        raise UserError(
            f"a structured operator of {n_measurements} measurements and {n_layers} layers needs "
            f"{_size(n_bytes)}, more than task.max_bytes={max_bytes} ({_size(max_bytes)})"
        )
    return StructuredSensing(
        image_shape, n_measurements=n_measurements, seed=seed, n_layers=n_layers
    )


def _size(n_bytes: int) -> str:
    """Format a number of bytes with a unit."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes} bytes"


def _check(batch: Tensor, expected: tuple[int, ...], what: str) -> None:
    """Reject batches whose items do not have the expected shape."""
    if tuple(batch.shape[1:]) != tuple(expected):
        shape = ", ".join(map(str, expected))
        raise ValueError(f"expected {what} (B, {shape}), got {tuple(batch.shape)}")


def _check_count(n_measurements: int) -> None:
    """Reject operators without measurements."""
    if n_measurements < 1:
        raise ValueError(f"n_measurements must be at least 1, got {n_measurements}")
