"""What a model costs: parameters and multiply-accumulates, analytic, the scales of every comparison.

MACs count linear layers, convolutions and the mixers' own products for one sample; norms, activations, scales and the
additions of average pooling count nothing (the convention of the paper's tables: PoolFormer-S12 has 1.8 G at 224).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import nn

from metaformer_nlp.core.block import MetaFormerBlock
from metaformer_nlp.core.mixers.base import TokenShape


class Parameters(NamedTuple):
    """Numbers of parameters; a frozen random matrix counts in ``total`` only."""

    total: int
    trainable: int


def count_parameters(module: nn.Module) -> Parameters:
    """Each parameter once, tied ones too."""
    parameters = list(module.parameters())
    return Parameters(sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad))


def linear_macs(linear: nn.Linear, num_tokens: int) -> int:
    return num_tokens * linear.in_features * linear.out_features


def conv_macs(conv: nn.Conv1d | nn.Conv2d, output_shape: TokenShape) -> int:
    """MACs of a convolution whose result has ``output_shape`` positions."""
    return math.prod(output_shape) * conv.weight.numel()


def block_macs(block: MetaFormerBlock, token_shape: TokenShape) -> int:
    """MACs of one MetaFormer block on one sample of ``token_shape`` tokens."""
    macs = block.token_mixer.macs(token_shape)
    if block.use_channel_mlp:
        macs += sum(linear_macs(fc, math.prod(token_shape)) for fc in (block.channel_mlp.fc1, block.channel_mlp.fc2))
    return macs
