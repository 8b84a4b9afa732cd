"""Linear layers by the faster of torch's two libraries for matrix products on CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry, register_flop_formula

# torch multiplies float32 matrices by MKL, which on AMD's processors does without AVX-512; oneDNN uses it on all. A
# choice by measuring would not be the same in a run that goes on.
_FASTER = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
_SMALLEST = 2**25
"""Multiply-accumulates below which the library makes no difference."""


class Linear(nn.Linear):
    """`torch.nn.Linear`, whose large products in float32 on a CPU with AVX-512 are oneDNN's: (..., C) -> (..., K)."""

    def forward(self, x: Tensor) -> Tensor:
        if (
            _FASTER
            and not torch.compiler.is_compiling()  # before sizes are asked for, which a graph would then hold to
            and not torch.jit.is_tracing()
            and x.numel() * self.out_features >= _SMALLEST
            and x.dtype == self.weight.dtype == torch.float32
            and x.device.type == self.weight.device.type == "cpu"
            and type(self.weight) is nn.Parameter  # none that is sharded or quantised
            and not torch.is_autocast_enabled("cpu")
        ):
            product: Tensor = _Product.apply(x, self.weight, self.bias)
            return product
        return super().forward(x)


class _Product(torch.autograd.Function):
    """``x @ weight.T + bias``: (..., C), (K, C), (K,) -> (..., K). Its backward pass can be differentiated again."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])

    @staticmethod
    def jvp(ctx: Any, of_x: Tensor | None, of_weight: Tensor | None, of_bias: Tensor | None) -> Any:
        x, weight = ctx.saved_tensors
        moved = None if of_x is None else of_x @ weight.t()
        turned = None if of_weight is None else x @ of_weight.t()
        return sum(part for part in (moved, turned, of_bias) if part is not None)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = gradient.flatten(0, -2)
        of_bias = rows.sum(0) if ctx.needs_input_grad[2] else None
        # MKL is as fast for this one, whose sums are long and whose result is small.
        of_weight = rows.t() @ x.flatten(0, -2) if ctx.needs_input_grad[1] else None
        # Last, so that what reads it next may find it in the cache.
        of_x = _Product.apply(gradient, weight.t(), None) if ctx.needs_input_grad[0] else None
        return of_x, of_weight, of_bias


if _FASTER and torch.ops.mkldnn._linear_pointwise not in flop_registry:  # code saved with a model has it twice

    @register_flop_formula(torch.ops.mkldnn._linear_pointwise)
    def _flops(x_shape: Any, weight_shape: Any, *_: Any, **__: Any) -> int:
        rows = torch.Size(x_shape[:-1]).numel()
        return int(2 * rows * weight_shape[0] * weight_shape[1])
