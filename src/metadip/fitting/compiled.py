"""A network with its first and second derivatives as compiled functions, for launch-bound GPUs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_map

from metadip.fitting.optimizers import Tensors
from metadip.fitting.weights import PureNetwork

# Of torch.compile: PyTorch's own kernels replayed as CUDA graphs, which takes seconds to prepare;
# kernels fused and replayed, which takes minutes; neither, for tests.
BACKENDS = ("cudagraphs", "inductor", "aot_eager")


class CompiledNetwork:
    """Compute x = f(theta, z) and, in backward passes, its derivatives by compiled functions.

    Model:
        Three pure functions are compiled: f; its pullback g(theta, z, u) = u^T df, for cotangents u
        of x; and the pullback of g, whose result holds the Hessian-vector products of a
        meta-gradient. Each computes again what it needs of the others: more arithmetic than a graph
        kept by autograd, in three launches instead of thousands; losses and updates come on top.
        No third derivatives.
    Shape:
        ``__call__``: weights as ``f`` takes them and z -> images; differentiable twice in both.
    Args:
        function: f, which changes nothing outside.
        backend: of ``torch.compile``, one of ``BACKENDS``.
    Raises:
        Nothing: where compilation fails a warning says why, once, and f is called as it is.
    Cost:
        On a GPU the memory of three recorded graphs, for as long as the object lives.
    """

    def __init__(self, function: PureNetwork, backend: str) -> None:
        self.function, self.backend, self.compiled = function, backend, True

        def pullback(params: Tensors, z: Tensor, u: Tensor) -> tuple[Tensors, Tensor]:
            found: tuple[Tensors, Tensor] = torch.func.vjp(function, params, z)[1](u)
            return found

        def second(
            params: Tensors, z: Tensor, u: Tensor, cotangents: tuple[Tensors, Tensor]
        ) -> tuple[Tensors, Tensor, Tensor]:
            found: tuple[Tensors, Tensor, Tensor] = torch.func.vjp(pullback, params, z, u)[1](
                cotangents
            )
            return found

        self._plain: dict[str, Callable[..., Any]] = {
            "images": function,
            "pullback": pullback,
            "second": second,
        }
        how: dict[str, Any] = {"dynamic": False, "fullgraph": True, "backend": backend}
        if backend == "inductor":
            how["options"] = {"triton.cudagraphs": True}
        self._fast = {name: torch.compile(f, **how) for name, f in self._plain.items()}

    def __call__(self, params: Tensors, z: Tensor) -> Tensor:
        """Return the images."""
        if not self.compiled:
            return self.function(params, z)
        images: Tensor = _Images.apply(self, z, *params)
        return images

    def run(self, name: str, *arguments: Any) -> Any:
        """Call one of the three functions, compiled as long as that works."""
        arguments = tree_map(Tensor.detach, arguments)
        if self.compiled:
            try:
                torch.compiler.cudagraph_mark_step_begin()
                found = self._fast[name](*arguments)
                # A replayed graph writes to the same place again.
                return tree_map(torch.clone, found)
            except Exception as error:
                self.compiled, self._fast = False, {}
                reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
                warnings.warn(
                    f"compile={self.backend} failed, going on without: {reason}", stacklevel=2
                )
        return self._plain[name](*arguments)


class _Images(torch.autograd.Function):
    """f(theta, z), whose derivatives are those of ``CompiledNetwork``."""

    @staticmethod
    def forward(ctx: Any, network: CompiledNetwork, z: Tensor, *params: Tensor) -> Tensor:
        ctx.network = network
        ctx.save_for_backward(z, *params)
        images: Tensor = network.run("images", params, z)
        return images

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_Pullback.apply(ctx.network, u, *ctx.saved_tensors)


class _Pullback(torch.autograd.Function):
    """The derivatives of z and the weights, given those of the images."""

    @staticmethod
    def forward(
        ctx: Any, network: CompiledNetwork, u: Tensor, z: Tensor, *params: Tensor
    ) -> Tensors:
        ctx.network = network
        ctx.save_for_backward(u, z, *params)
        of_params, of_z = network.run("pullback", params, z, u)
        return of_z, *of_params

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_z: Tensor, *for_params: Tensor) -> tuple[Tensor | None, ...]:
        u, z, *params = ctx.saved_tensors
        found, of_z, of_u = ctx.network.run("second", tuple(params), z, u, (for_params, for_z))
        return None, of_u, of_z, *found
