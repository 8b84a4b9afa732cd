"""Norms: over the channels of one token, or over whole maps and documents; all of them aware of padding.

Shapes: B batch, S token axes ((L,) or (H, W)), C channels. Every norm is called as ``norm(x, segment_ids)``.

``group_norm`` is the paper's "modified layer norm": one group, statistics over all tokens *and* channels of a sample
(over those of its own document in packed or padded text). It therefore mixes tokens, a little; ``layer_norm`` and
``rms_norm`` look at one token only, and with them the identity mixer truly mixes nothing.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer_nlp.core.registry import Registry
from metaformer_nlp.core.segments import SegmentAware, SegmentMeans, mean_over_segment, segment_means

NORMS: Registry[type[Norm]] = Registry("norm")


class Norm(SegmentAware):
    """A norm over channels-last tokens; constructed as ``(dim, eps=..., bias=...)``."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    mixes_tokens: ClassVar[bool] = False
    """Does it take statistics over tokens?"""

    def __init__(self, dim: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def reset_parameters(self) -> None:
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def prepare_key(self) -> str:
        return type(self).__qualname__

    def prepare(self, segment_ids: Tensor) -> Any:
        return None  # a norm over the channels of one token needs no segments

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        """(B, *S, C) -> (B, *S, C)."""
        raise NotImplementedError

    def affine(self, x: Tensor) -> Tensor:
        if self.weight is None:
            return x
        return x * self.weight if self.bias is None else torch.addcmul(self.bias, x, self.weight)

    def extra_repr(self) -> str:
        return f"{self.dim}, eps={self.eps}, bias={self.bias is not None}"


@NORMS.register("layer_norm")
class ChannelLayerNorm(Norm):
    """Layer norm over the channels of each token."""

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        return F.layer_norm(x, (self.dim,), self.weight, self.bias, self.eps)


@NORMS.register("rms_norm")
class ChannelRMSNorm(Norm):
    """RMS norm over the channels of each token; it has no bias."""

    def __init__(self, dim: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__(dim, eps=eps, bias=False)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        return F.rms_norm(x, (self.dim,), self.weight, self.eps)


@NORMS.register("group_norm")
class MapGroupNorm(Norm):
    """Group norm with one group (the paper's MLN): statistics over all tokens and channels of a sample or document."""

    mixes_tokens = True

    def prepare(self, segment_ids: Tensor) -> SegmentMeans:
        return segment_means(segment_ids)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        segments = self.prepared(segment_ids)
        if segments is None:
            return F.group_norm(x.movedim(-1, 1), 1, self.weight, self.bias, self.eps).movedim(1, -1)
        tokens = x.float()
        centred = tokens - mean_over_segment(tokens.mean(-1, keepdim=True), segments)
        variance = mean_over_segment(centred.square().mean(-1, keepdim=True), segments)
        return self.affine((centred * torch.rsqrt(variance + self.eps)).to(x.dtype))


@NORMS.register("batch_norm")
class TokenBatchNorm(Norm):
    """Batch norm over all real tokens of a batch; running statistics in evaluation, padding never counted."""

    mixes_tokens = True
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: int, *, eps: float = 1e-5, bias: bool = True, momentum: float = 0.1) -> None:
        super().__init__(dim, eps=eps, bias=bias)
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.zeros_(self.running_mean)
        nn.init.ones_(self.running_var)

    def prepare(self, segment_ids: Tensor) -> tuple[Tensor]:
        return ((segment_ids > 0).unsqueeze(-1),)

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        segments = self.prepared(segment_ids)
        if segments is None or not self.training:
            flat = x.reshape(-1, self.dim)
            flat = F.batch_norm(
                flat,
                self.running_mean,
                self.running_var,
                self.weight,
                self.bias,
                self.training,
                self.momentum,
                self.eps,
            )
            return flat.view_as(x)
        (real,) = segments
        tokens, count = x.float(), real.sum().clamp(min=1)
        mean = torch.where(real, tokens, 0.0).sum((0, 1)) / count
        variance = torch.where(real, (tokens - mean).square(), 0.0).sum((0, 1)) / count
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        return self.affine(((tokens - mean) * torch.rsqrt(variance + self.eps)).to(x.dtype))


@NORMS.register("none")
class NoNorm(Norm):
    """No norm at all: the ablation."""

    def __init__(self, dim: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        SegmentAware.__init__(self)
        self.dim, self.eps = dim, eps
        self.weight = self.bias = None

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        return x


def build_norm(name: str, dim: int, *, eps: float = 1e-5, bias: bool = True) -> Norm:
    """The norm ``name`` over ``dim`` channels; an unknown name is a ``ValueError`` that lists the names."""
    return NORMS[name](dim, eps=eps, bias=bias)
