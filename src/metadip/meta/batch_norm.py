"""BatchNorm with second derivatives from one formula instead of a graph of thirty operations."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Module = TypeVar("Module", bound=nn.Module)
Triple = tuple[Tensor, Tensor, Tensor]


def with_closed_form_norms(network: Module, *, shared: Iterable[Tensor] = ()) -> Module:
    """Return a copy whose BatchNorms on the image at hand have second derivatives in closed form.

    Those that keep running statistics or learn no scale stay as they are. The copy does not run
    under ``torch.func``'s transforms. Where a channel's mean is tens of its standard deviations,
    second derivatives lose a bit or two against PyTorch's.

    Args:
        network: is not changed.
        shared: parameters that are not copied: they learn by the copy, too.
    """
    changed = copy.deepcopy(network, {id(p): p for p in shared})
    for module in list(changed.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d and child.affine and not child.track_running_stats:
                setattr(module, name, _ClosedFormBatchNorm(child))
    return changed


def keeps_images_apart(network: nn.Module) -> bool:
    """Tell whether an image comes out of a batch as it would alone, which BatchNorm prevents."""
    return not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())


class _ClosedFormBatchNorm(nn.Module):
    """A BatchNorm that normalises with the statistics of its input, with the given weights."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Normalised.apply(x, self.weight, self.bias, self.eps)
        return y


class _Normalised(torch.autograd.Function):
    """y = w (x - m) r + b, with mean m and inverse standard deviation r of each channel of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor, eps: float) -> Tensor:
        y, m, r = torch.native_batch_norm(x, w, b, None, None, True, 0.0, eps)
        ctx.save_for_backward(x, w, m, r)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return *_PulledBack.apply(g, *ctx.saved_tensors, ctx.eps), None


class _PulledBack(torch.autograd.Function):
    """Derivatives of x, w and b, given the cotangent g of y; see ``_pull_back``.

    Model:
        With S v = v - mean(v) - x_hat mean(v x_hat), x_hat = (x - m) r, all per channel: the three
        are w r S g, sum(g x_hat) and sum(g). Given their cotangents a, b, c and n pixels, those of
        g, w and x are
        w r S a + b x_hat + c, r <a, S g> and r S h - w r^2 <a, S g> x_hat / n, where
        h = b g - w r (a sum(g x_hat) + g sum(a x_hat)) / n.
    """

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, w: Tensor, m: Tensor, r: Tensor, eps: float
    ) -> Triple:
        found = _pull_back(g, x, w, m, r, eps)
        ctx.save_for_backward(g, x, w, m, r, *found[1:])
        ctx.eps = eps
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        a, b, c = cotangents
        g, x, w, m, r, g_x_hat, g_sum = ctx.saved_tensors
        of_g, a_x_hat, a_sum = _pull_back(a, x, w, m, r, ctx.eps)
        n, inner = x.numel() / x.shape[1], (a * g).sum((0, 2, 3))
        inner -= (a_sum * g_sum + a_x_hat * g_x_hat) / n
        # Each channel is multiplied or shifted by these; x_hat is x times a slope plus an offset.
        w_r_n, slope = w * r / n, b * r
        factors = (slope, c - slope * m, -w_r_n * g_x_hat, b - w_r_n * a_x_hat)
        curved = -w_r_n * r * r * inner
        spread = torch.stack((*factors, curved, -curved * m)).to(x.dtype).view(6, 1, -1, 1, 1)
        of_g = torch.addcmul(of_g, x, spread[0]).add_(spread[1])
        h = torch.addcmul(a * spread[2], g, spread[3])
        of_x, _, _ = _pull_back(h, x, None, m, r, ctx.eps)
        of_x = torch.addcmul(of_x, x, spread[4]).add_(spread[5])
        return of_g, of_x, r * inner, None, None, None


def _pull_back(g: Tensor, x: Tensor, w: Tensor | None, m: Tensor, r: Tensor, eps: float) -> Triple:
    """Return w r S g, sum(g x_hat) and sum(g); without ``w``, only the first, for w = 1."""
    wanted = [True, w is not None, w is not None]
    found: Triple = torch.ops.aten.native_batch_norm_backward(
        g, x, w, None, None, m, r, True, eps, wanted
    )
    return found
