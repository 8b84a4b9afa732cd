"""The MetaFormer block: the general architecture whose token mixer is left open (Yu et al., arXiv 2111.11418, Eq. 1-3).

Shapes: B batch, S token axes ((L,) for text, (H, W) for images), C channels; tokens are channels-last, (B, *S, C).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from torch import Tensor, nn

from metaformer_nlp.core.channel_mlp import ChannelMLP
from metaformer_nlp.core.mixers import TokenMixer
from metaformer_nlp.core.norms import build_norm
from metaformer_nlp.core.residual import Residual
from metaformer_nlp.core.segments import prepare_once


class BlockSegments(NamedTuple):
    """The segments of a batch as the norms and the token mixer of a block need them."""

    norm: Any
    mixer: Any


class MetaFormerBlock(nn.Module):
    """A token mixer and a channel MLP, each behind a norm and added to the stream.

    ::

        x = x + scale1 * mixer(norm1(x), segment_ids)
        x = x + scale2 * mlp(norm2(x))

    The options are the paper's ablations: ``norm`` (:data:`NORMS`), ``activation`` (:data:`ACTIVATIONS`), the scales
    (None for none), ``use_residual`` and ``use_channel_mlp``. ``hidden_dim`` is the width inside the MLP, ``dropout``
    and ``mlp_dropout`` are those of :class:`ChannelMLP`, of its result and inside.
    """

    def __init__(
        self,
        dim: int,
        token_mixer: TokenMixer,
        *,
        hidden_dim: int,
        norm: str = "group_norm",
        norm_eps: float = 1e-5,
        norm_bias: bool = True,
        activation: str = "gelu",
        mlp_bias: bool = True,
        dropout: float = 0.0,
        mlp_dropout: float | None = None,
        drop_path: float = 0.0,
        layer_scale_init: float | None = None,
        res_scale_init: float | None = None,
        use_residual: bool = True,
        use_channel_mlp: bool = True,
    ) -> None:
        super().__init__()

        def residual() -> Residual:
            return Residual(
                dim,
                layer_scale_init=layer_scale_init,
                res_scale_init=res_scale_init,
                drop_path=drop_path,
                use_residual=use_residual,
            )

        self.norm1 = build_norm(norm, dim, eps=norm_eps, bias=norm_bias)
        self.token_mixer = token_mixer
        self.residual1 = residual()
        self.use_channel_mlp = use_channel_mlp
        if use_channel_mlp:
            self.norm2 = build_norm(norm, dim, eps=norm_eps, bias=norm_bias)
            self.channel_mlp = ChannelMLP(
                dim, hidden_dim, activation=activation, bias=mlp_bias, dropout=dropout, inner_dropout=mlp_dropout
            )
            self.residual2 = residual()

    def forward(self, x: Tensor, segment_ids: Tensor | BlockSegments | None = None) -> Tensor:
        """(B, *S, C) -> (B, *S, C); ``segment_ids`` (B, L) for text, or what :meth:`prepare` made of them."""
        segments = self.prepare(segment_ids, {})
        x = self.residual1(x, self.token_mixer(self.norm1(x, segments.norm), segments.mixer))
        if self.use_channel_mlp:
            x = self.residual2(x, self.channel_mlp(self.norm2(x, segments.norm)))
        return x

    def prepare(
        self,
        segment_ids: Tensor | BlockSegments | None,
        shared: dict[Hashable, Any],
        sources: Tensor | None = None,
    ) -> BlockSegments:
        """What norms and mixer derive from ``segment_ids``; blocks with the same ``shared`` derive things once.

        ``sources`` (B, L) says which tokens the mixer may take anything from; only with ids, and only for a mixer that
        ``excludes_sources``.
        """
        if isinstance(segment_ids, BlockSegments):
            return segment_ids
        if segment_ids is None:
            return BlockSegments(None, None)
        given = (segment_ids,) if sources is None else (segment_ids, sources)
        return BlockSegments(
            prepare_once(self.norm1, shared, segment_ids), prepare_once(self.token_mixer, shared, *given)
        )
