"""The channel MLP: the second half of a MetaFormer block, and its activations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer_nlp.core.dropout import Dropout
from metaformer_nlp.core.linear import Linear
from metaformer_nlp.core.registry import Registry

ACTIVATIONS: Registry[Callable[[], nn.Module]] = Registry("activation")
ACTIVATIONS.register("relu")(nn.ReLU)
ACTIVATIONS.register("silu")(nn.SiLU)


@ACTIVATIONS.register("gelu")
class GELU(nn.Module):
    """Exact GELU. With ``overwrite``, and where no gradient is asked for, it overwrites its input, which nothing else
    reads: the widest map of the model. Asking the system for another one as large takes longer on a CPU than the
    function itself.
    """

    overwrite = False

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.aten.gelu_(x) if self.overwrite and not torch.is_grad_enabled() else F.gelu(x)


@ACTIVATIONS.register("squared_relu")
class SquaredReLU(nn.Module):
    """``relu(x)^2`` (So et al., Primer, 2021)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


@ACTIVATIONS.register("star_relu")
class StarReLU(nn.Module):
    """``s * relu(x)^2 + b`` with learned scalars that start at 1 and 0 (arXiv 2210.13452, as in its code)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def reset_parameters(self) -> None:
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        rectified = F.relu(x)
        return torch.addcmul(self.bias, self.scale * rectified, rectified)


def build_activation(name: str, overwrite: bool = False) -> nn.Module:
    """The activation ``name``; an unknown name is a ``ValueError`` that lists the names.

    With ``overwrite`` it may write over its input: only for a tensor that nothing else reads.
    """
    activation = ACTIVATIONS[name]()
    if isinstance(activation, GELU):
        activation.overwrite = overwrite
    return activation


class ChannelMLP(nn.Module):
    """Two linear layers applied to each token: (B, *S, C) -> (B, *S, C).

    ``dropout`` is that of the result and, where ``inner_dropout`` is None, of the activations inside.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        *,
        activation: str = "gelu",
        bias: bool = True,
        dropout: float = 0.0,
        inner_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim, bias=bias)
        self.act = build_activation(activation, overwrite=True)
        self.fc2 = Linear(hidden_dim, dim, bias=bias)
        self.dropout = Dropout(dropout)
        self.inner_dropout = Dropout(dropout if inner_dropout is None else inner_dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.fc2(self.inner_dropout(self.act(self.fc1(x)))))
