"""The scale of an operator, and problems rescaled to the one used when learning step sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from deepinv.physics import Physics
from torch import Tensor

from metadip.physics.splitting import ImageShape, real_dtype
from metadip.types import InverseProblem

N_PROBES = 8
PROBE_SEED = 740_213_995  # arbitrary: a random operator with this seed would repeat the probes
TOLERANCE = 0.1  # of ||A x||^2 / ||x||^2; random operators of a few hundred rows vary by less
HOMOGENEOUS = 1e-3  # relative distance of A(2 x) from 2 A(x)


def operator_scale(physics: Physics, image_shape: ImageShape, *, like: Tensor) -> float:
    """Return the factor that brings an operator to the scale at which step sizes are learned.

    Model:
        r^-1/2, where r is the mean of ||A x||^2 / ||x||^2 over fixed random x: once smooth and grey
        (amplitude 1 / f^2, zero mean, equal channels), once white, and the larger r of the two.
        Images, and what a network learns first, are smooth: white probes alone would find every
        blur weak and make the steps far too long; smooth ones alone would do the same for an
        operator that sees only edges.
        1 if r is within 10 % of 1, and for operators that are not homogeneous, A(2 x) = 2 A(x),
        whose scale has no meaning.
    Args:
        physics: maps one image (1, C, H, W) to a tensor.
        image_shape: (C, H, W).
        like: a measurement, for device and precision.
    """
    ratios = []
    with torch.no_grad():
        for x in _probes(image_shape):
            x = x.to(like.device, real_dtype(like))
            if not x.any():
                continue  # smooth without a mean, at 1x1 px
            y = torch.cat([physics.A(image) for image in x.split(1)])
            ratios.append(_energy(y) / _energy(x))
        twice = physics.A(2 * x[-1:])
        homogeneous = _energy(twice - 2 * y[-1:]) <= HOMOGENEOUS**2 * _energy(twice)
    ratio = max(ratios)
    if not homogeneous or not 0 < ratio < math.inf or abs(ratio - 1) <= TOLERANCE:
        return 1.0
    return 1 / math.sqrt(ratio)


def rescaled(problems: Sequence[InverseProblem]) -> list[InverseProblem]:
    """Return the problems, each with the scale of its operator; a shared one is probed once."""
    scales: dict[int, float] = {}
    for problem in problems:
        if id(problem.physics) not in scales:
            scales[id(problem.physics)] = operator_scale(
                problem.physics, problem.image_shape, like=problem.y
            )
    return [replace(problem, scale=scales[id(problem.physics)]) for problem in problems]


def _probes(image_shape: ImageShape) -> tuple[Tensor, Tensor]:
    """Return smooth and white random images, (N, C, H, W) each."""
    height, width = image_shape[1:]
    generator = torch.Generator().manual_seed(PROBE_SEED)
    white = torch.randn((N_PROBES, *image_shape), generator=generator)
    f = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width))
    f[0, 0] = torch.inf
    smooth = torch.fft.irfft2(torch.fft.rfft2(white[:, :1]) / f.square(), s=(height, width))
    return smooth.expand_as(white), white


def _energy(tensor: Tensor) -> float:
    return float(tensor.abs().square().sum())
