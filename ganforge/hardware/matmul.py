"""Dense layers by oneDNN, where the library that PyTorch multiplies float32 matrices with is slow.

On x86 that library is Intel's MKL, which keeps its fastest kernels to Intel's own processors:
measured on two cores of an AMD EPYC, 1.5 to 2.3 times as long as oneDNN takes for the forward and
backward pass of a layer of 256 to 1,024 units (docs/performance.md). Convolutions, and everything
in bf16, are computed by oneDNN anyway.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

LEAST = 32  # rows, inputs and outputs: below, the call costs more than it gains


def by_onednn(network: nn.Module) -> None:
    """Let every dense layer of a network compute by oneDNN while it trains.

    What is not trained, and so every image that is looked at or measured, is computed as PyTorch
    does by itself. Layers of a class of their own, such as those whose weights are normalised, are
    left as they are.
    """
    for layer in network.modules():
        if type(layer) is nn.Linear and min(layer.in_features, layer.out_features) >= LEAST:
            layer.__class__ = _OneDnnLinear


def offered() -> bool:
    """Whether this PyTorch brings oneDNN's product of matrices, and MKL to be faster than."""
    has_mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return bool(has_mkl) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class _OneDnnLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]"""
        if not self.training or not fits(input):
            return super().forward(input)
        rows = linear(input.flatten(0, -2), self.weight, self.bias)
        return rows.view(*input.shape[:-1], -1)


def fits(rows: Tensor) -> bool:
    """Whether a product with these rows is one that oneDNN is asked for: float32, enough of them,
    and not recorded by a tracer."""
    return (
        rows.dtype == torch.float32
        and rows.dim() >= 2
        and rows.numel() >= LEAST * rows.shape[-1]
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """rows [M, K], weight [N, K], bias [N] -> [M, N], as torch's `linear`; may be differentiated
    any number of times."""
    return cast(Tensor, _Linear.apply(rows, weight, bias))


class _Linear(torch.autograd.Function):
    """Its backward pass is made of the same products, so that it has one too."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], ""))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        wants_rows, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            linear(gradient, weight.t(), None) if wants_rows else None,
            linear(gradient.t(), rows.t(), None) if wants_weight else None,
            gradient.sum(0) if wants_bias else None,
        )
