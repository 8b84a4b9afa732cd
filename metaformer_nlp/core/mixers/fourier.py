"""FNet's mixer: the real part of a Fourier transform over tokens and channels (Lee-Thorp et al., arXiv 2105.03824)."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from metaformer_nlp.core.mixers.base import TokenMixer, TokenShape, register_mixer
from metaformer_nlp.core.segments import positions_in_segment, same_segment


@register_mixer("fourier")
class Fourier(TokenMixer):
    """``Re(DFT_tokens(DFT_channels(x)))``, in float32, orthonormal so that it keeps the scale of a pre-norm stream.

    FNet itself is not normalised (it has a norm after the sum) and treats padding as tokens. Here a document of n
    tokens gets the DFT of length n over its own tokens, wherever it lies in a row: a block-diagonal matrix.
    """

    def prepare_key(self) -> str:
        return "fourier"

    def prepare(self, segment_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (B, L, L) of each document's own transform; 0 between documents."""
        same = same_segment(segment_ids)
        positions, lengths = positions_in_segment(segment_ids), same.sum(-1)[:, :, None]
        turns = (positions[:, :, None] * positions[:, None, :]) % lengths  # exact: integers, before any rounding
        angles = turns.float() * (2 * math.pi / lengths)
        weights = same * lengths.float().rsqrt()
        return angles.cos() * weights, angles.sin() * weights

    def forward(self, x: Tensor, segment_ids: Any = None) -> Tensor:
        segments = self.prepared(segment_ids)
        with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
            if segments is None:
                return torch.fft.fftn(x.float(), dim=tuple(range(1, x.ndim)), norm="ortho").real.to(x.dtype)
            cosines, sines = segments
            channels = torch.fft.fft(x.float(), dim=-1, norm="ortho")
            return (cosines @ channels.real + sines @ channels.imag).to(x.dtype)

    def macs(self, token_shape: TokenShape) -> int:
        """Of a fast transform: 5/2 n log2(n) for the n complex numbers that tokens and channels make up."""
        size = math.prod(token_shape) * self.dim
        return round(2.5 * size * math.log2(size))
