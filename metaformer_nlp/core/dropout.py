"""Dropout whose masks cost little on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 2**16
"""A probability is rounded to a multiple of 1 / 65536; what is kept is scaled by the rounded one."""


class Dropout(nn.Dropout):
    """`torch.nn.Dropout`; on a CPU its mask takes 16 random bits an element, where torch's draws a double for each."""

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(self.p * _LEVELS)
        if not self.training or not 0 < dropped < _LEVELS or x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - _LEVELS // 2
        return x * (kept * (_LEVELS / (_LEVELS - dropped))).to(x.dtype)
