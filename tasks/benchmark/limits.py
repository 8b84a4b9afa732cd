"""Parts of a model alone: what no model with these parts can be faster than, and what its token mixers take.

- ``limit/NAME``: the matrix products of the model's layers;
- ``mixers/NAME``: its token mixers;
- ``copies/NAME``: one copy of the tokens that each of its mixers gets, which a mixer that reads and writes its tokens
  once cannot be faster than.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer_nlp.core import TokenMixer

__all__ = ["PARTS", "Copies", "Copy", "MatrixProducts", "Mixers", "Part", "split_part"]


class Part(nn.Module):
    """The layers of a model that :meth:`wanted` names, each on random inputs of the shape that it gets in the model.

    In training all gradients are computed, those of the inputs too.
    """

    def __init__(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> None:
        """``inputs`` are arguments of ``model``, by which the shapes are found.

        Raises:
            ValueError: the model has no such layer.
        """
        super().__init__()
        shadow = copy.deepcopy(model).to("meta")  # computes nothing
        calls: list[tuple[str, torch.Size]] = []
        for name, module in shadow.named_modules():
            if self.wanted(module):
                module.register_forward_pre_hook(lambda _, given, name=name: calls.append((name, given[0].shape)))
        with torch.no_grad():
            shadow(**{key: value.to("meta") for key, value in inputs.items()})
        if not calls:
            raise ValueError(f"{type(model).__name__} has no part that {type(self).__name__} could measure alone")
        self.layers = nn.ModuleList(self.taken(copy.deepcopy(model.get_submodule(name))) for name, _ in calls)
        self.inputs = [f"input_{'_'.join(map(str, shape))}" for _, shape in calls]
        for name, (_, shape) in zip(self.inputs, calls, strict=True):
            self.register_buffer(name, torch.randn(shape))  # one for all layers that take this shape

    def wanted(self, module: nn.Module) -> bool:
        """Whether a layer is measured."""
        raise NotImplementedError

    def taken(self, layer: nn.Module) -> nn.Module:
        """The layer as it is measured."""
        return layer

    def forward(self, *_: Any, **__: Any) -> Tensor:
        """A scalar that depends on all layers."""
        total = torch.zeros(())
        for name, layer in zip(self.inputs, self.layers, strict=True):
            x: Tensor = getattr(self, name).detach().requires_grad_(torch.is_grad_enabled())
            output = layer(x)
            total = total.to(output.device) + _Summary.apply(output)
        return total


class MatrixProducts(Part):
    """The matrix products of a model's linear layers and nothing else.

    Convolutions without groups count as what they are, products with patches. Attention's products over tokens, and all
    that is no product, cost nothing here.
    """

    def wanted(self, module: nn.Module) -> bool:
        return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)

    def taken(self, layer: nn.Module) -> nn.Module:
        layer.register_parameter("bias", None)
        return _Product(layer) if isinstance(layer, nn.Linear) else layer


class Mixers(Part):
    """The token mixers of one of our models; of texts that have no padding."""

    def wanted(self, module: nn.Module) -> bool:
        return isinstance(module, TokenMixer)


class Copies(Mixers):
    """A copy in the place of each token mixer."""

    def taken(self, layer: nn.Module) -> nn.Module:
        return Copy()


PARTS: dict[str, Callable[[nn.Module, Mapping[str, Tensor]], Part]] = {
    "limit": MatrixProducts,
    "mixers": Mixers,
    "copies": Copies,
}
"""The prefix of a model's name -> the part that is measured alone."""


def split_part(name: str) -> tuple[str | None, str]:
    """``"limit/pooling"`` -> ``("limit", "pooling")``; ``(None, name)`` for a whole model."""
    prefix, _, rest = name.partition("/")
    return (prefix, rest) if prefix in PARTS else (None, name)


class _Product(nn.Module):
    """torch's product, whatever the layer's own forward pass would take."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight = layer.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


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
