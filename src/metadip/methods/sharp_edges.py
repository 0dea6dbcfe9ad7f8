"""The kernel of a blurred picture from its strong edges, coarse to fine: seconds, no network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from metadip.physics.kernel_blur import convolve, correlate
from metadip.physics.shifts import moved, off_centre, windowed

COARSEST_PX = 5  # of the kernel on the first scale
SCALE = math.sqrt(2)  # between the sides of two scales
# The next two, and the last two, are the best of a few on four validation photographs.
EDGES = 0.3  # weight of ||grad x||_0 over the noise
RIDGE = 1500.0  # weight of ||k||^2 over the noise
LEAST_NOISE = 0.005  # noise is taken to be at least this
FADING = 1.1  # by which the weight of the edges falls after each round
COUPLING, COUPLINGS, LAST_COUPLING = 2.0, 4.0, 100.0  # first over that weight, factor, and end
IMAGE_STEPS, KERNEL_STEPS = 4, 30  # of conjugate gradients
FAINTEST, SMALLEST = 0.12, 0.3  # of its largest value, and of its largest part: left out of k


def kernels(y: Tensor, *, side: int, noise_std: float, rounds: int) -> Iterator[Tensor]:
    """Yield the kernel after every scale, on a grid of ``side`` at the last.

    Model:
        On every scale, in turn: x = argmin ||k * x - y||^2 + lambda ||grad x||_0 by splitting,
        which leaves few and strong edges, and k = argmin ||k * grad x - grad y||^2 + gamma
        ||k||^2, from which negative, faint and detached parts are removed.
        Convolutions are valid, so that nothing is assumed beyond the border. lambda and gamma
        follow the noise.
    Shape:
        y (1, 1, H, W), in [0, 1] intensity -> (1, 1, side, side).
    Args:
        y: the blurred picture; weights are for pictures that fill [0, 1], not for dim ones.
        side: of the kernel's grid, odd.
        noise_std: of y, in [0, 1] intensity.
        rounds: of both updates on each scale.
    References:
        Xu, Zheng and Jia (2013), Unnatural L0 Sparse Representation for Natural Image Deblurring.
        Pan et al. (2014), Deblurring Text Images via L0-Regularized Intensity and Gradient Prior.
    """
    noise = max(noise_std, LEAST_NOISE)
    k: Tensor | None = None
    for own in sides_of(side):
        small = y if own == side else _resized(y, [round(n * own / side) for n in y.shape[-2:]])
        k = _first(small, own) if k is None else _normalised(_resized(k, [own, own]).clamp(min=0))
        reach = own // 2
        x = windowed(small, -reach, -reach, (small.shape[-2] + own - 1, small.shape[-1] + own - 1))
        edges = EDGES * noise
        for _ in range(rounds):
            x = _image(small, k, x, edges)
            k = _kernel(small, k, x, RIDGE * noise)
            edges /= FADING
        if own < side:  # at the last, whoever reads the kernel moves it, and the image with it
            down, right = off_centre(k)
            k = _normalised(moved(k, -down, -right))
        yield k


def sides_of(side: int) -> list[int]:
    """Return the odd sides of the kernel on all scales, the last of them ``side``.

    Example:
        >>> sides_of(15)
        [5, 7, 11, 15]
    """
    sides = [side]
    while sides[0] > COARSEST_PX:
        sides.insert(0, min(2 * round((sides[0] / SCALE - 1) / 2) + 1, sides[0] - 2))
    return sides


def _first(y: Tensor, side: int) -> Tensor:
    """Return a kernel of two pixels: from a single one, nothing would move."""
    k = torch.zeros(1, 1, side, side).to(y)
    k[..., side // 2, side // 2 : side // 2 + 2] = 0.5
    return k


def _image(y: Tensor, k: Tensor, x: Tensor, edges: float) -> Tensor:
    """Return the image with few edges that explains y, from x."""
    target, coupling = correlate(y, k), COUPLING * edges
    while coupling < LAST_COUPLING:
        kept = [torch.where(g.square() > edges / coupling, g, 0.0) for g in _gradients(x)]

        def normal(u: Tensor, weight: float = coupling) -> Tensor:
            return correlate(convolve(u, k), k) + weight * _divergence(*_gradients(u))

        x = _solved(normal, target + coupling * _divergence(*kept), x, IMAGE_STEPS)
        coupling *= COUPLINGS
    return x


def _kernel(y: Tensor, k: Tensor, x: Tensor, ridge: float) -> Tensor:
    """Return the kernel that brings the edges of x to those of y, from k."""
    pairs = list(zip(_gradients(x), _gradients(y), strict=True))

    def normal(q: Tensor) -> Tensor:
        return sum((_towards(g, convolve(g, q)) for g, _ in pairs), ridge * q)

    target = sum((_towards(g, h) for g, h in pairs), torch.zeros_like(k))
    found = _solved(normal, target, k, KERNEL_STEPS).clamp(min=0)
    found = torch.where(found < FAINTEST * found.max(), 0.0, found)
    if not found.sum() > 0:
        return k
    return _normalised(found * _large_parts(found))


def _towards(x: Tensor, y: Tensor) -> Tensor:
    """Return the adjoint of convolving x, as a map of kernels, applied to y."""
    return convolve(x, y.flip(-1, -2)).flip(-1, -2)


def _large_parts(k: Tensor) -> Tensor:
    """Return 1 on the connected parts of a kernel that hold a good share of its mass, else 0."""
    from scipy import ndimage

    mass = k[0, 0].cpu().numpy()
    labels, count = ndimage.label(mass > 0, structure=[[1, 1, 1]] * 3)
    sums = ndimage.sum_labels(mass, labels, range(1, count + 1))
    large = [number + 1 for number, part in enumerate(sums) if part >= SMALLEST * max(sums)]
    kept = torch.isin(torch.from_numpy(labels), torch.tensor(large))
    return kept[None, None].to(k)


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.diff(dim=-2), x.diff(dim=-1)


def _divergence(down: Tensor, right: Tensor) -> Tensor:
    """Return the adjoint of ``_gradients``."""
    return -F.pad(down, (0, 0, 1, 1)).diff(dim=-2) - F.pad(right, (1, 1)).diff(dim=-1)


def _solved(normal: Callable[[Tensor], Tensor], target: Tensor, x: Tensor, steps: int) -> Tensor:
    """Return x nearer to normal(x) = target by conjugate gradients."""
    left = target - normal(x)
    direction, size = left, left.square().sum()
    for _ in range(steps):
        if not size > 0:
            break
        image = normal(direction)
        length = size / (direction * image).sum()
        x, left = x + length * direction, left - length * image
        size, before = left.square().sum(), size
        direction = left + size / before * direction
    return x


def _resized(x: Tensor, size: list[int]) -> Tensor:
    resized: Tensor = F.interpolate(
        x, size=size, mode="bicubic", antialias=True, align_corners=False
    )
    return resized


def _normalised(k: Tensor) -> Tensor:
    return k / k.sum()
