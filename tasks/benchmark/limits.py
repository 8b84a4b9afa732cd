"""What no model can be faster than: its matrix products alone, or one copy of its input."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Copy", "MatrixProducts"]


class MatrixProducts(nn.Module):
    """The matrix products of a model's linear layers and nothing else; in training those of the gradients, too.

    Convolutions without groups count as what they are, products with patches. Attention's products over tokens, and all
    that is no product, cost nothing here.
    """

    def __init__(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> None:
        """``inputs`` are arguments of ``model``, by which the shapes are found."""
        super().__init__()
        shadow = copy.deepcopy(model).to("meta")  # computes nothing
        calls: list[tuple[str, torch.Size]] = []
        for name, module in shadow.named_modules():
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
                module.register_forward_pre_hook(lambda _, given, name=name: calls.append((name, given[0].shape)))
        with torch.no_grad():
            shadow(**{key: value.to("meta") for key, value in inputs.items()})
        self.layers = nn.ModuleList(copy.deepcopy(model.get_submodule(name)) for name, _ in calls)
        for layer in self.layers:
            layer.register_parameter("bias", None)
        self.inputs = [f"input_{'_'.join(map(str, shape))}" for _, shape in calls]
        for name, (_, shape) in zip(self.inputs, calls, strict=True):
            self.register_buffer(name, torch.randn(shape))  # one for all layers that take this shape

    def forward(self, *_: Any, **__: Any) -> Tensor:
        """A scalar that depends on all products."""
        total = torch.zeros(())
        for name, layer in zip(self.inputs, self.layers, strict=True):
            x: Tensor = getattr(self, name).detach().requires_grad_(torch.is_grad_enabled())
            product = F.linear(x, layer.weight) if isinstance(layer, nn.Linear) else layer(x)
            total = total.to(product.device) + _Summary.apply(product)
        return total


class _Summary(torch.autograd.Function):
    """A number for a tensor, and back the tensor itself as its gradient: neither passes over memory."""

    @staticmethod
    def forward(ctx: Any, product: Tensor) -> Tensor:
        ctx.save_for_backward(product)
        return product.flatten()[0].float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (product,) = ctx.saved_tensors
        return product


class Copy(nn.Module):
    """One pass over memory: as much is read and written as by any operation that gives what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()
