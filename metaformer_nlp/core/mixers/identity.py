"""No mixing at all: the control every other mixer is measured against."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, register_mixer


@register_mixer("identity")
class Identity(TokenMixer):
    """Returns its tokens. A true control only beside a per-token norm: ``group_norm`` mixes tokens by itself."""

    excludes_sources = True

    def prepare(self, segment_ids: Tensor, sources: Tensor | None = None) -> tuple[()]:
        return ()

    def prepare_key(self) -> str:
        return "identity"

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        return x

    def macs(self, token_shape: TokenShape) -> int:
        return 0
