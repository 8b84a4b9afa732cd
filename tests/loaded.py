"""What is asked of a model whose weights come from a file: the same weights to the bit, and close outputs.

safetensors leaves a tensor where it lies in the file, at any address. On unaligned weights torch may run other kernels,
as some processors' do, and these add up in another order: outputs then differ in their last bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
ALIGNMENT = 64
"""Bytes; where torch puts the memory that it allocates itself."""

Module = TypeVar("Module", bound=nn.Module)


def assert_same_weights(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Two state dicts have the same names, and under each the same tensor, to the bit."""
    assert given.keys() == expected.keys()
    for name, tensor in given.items():
        assert torch.equal(tensor, expected[name]), name


def assert_close_outputs(given: Any, expected: Any) -> None:
    """Two tensors, or two mappings or sequences of tensors, are equal but for the order of sums."""
    torch.testing.assert_close(given, expected, **TOLERANCE)


def unaligned(model: Module, offset: int = 4) -> Module:
    """The same model, its weights moved to ``offset`` bytes behind an address that ``ALIGNMENT`` divides."""

    def moved(tensor: Tensor) -> Tensor:
        size = tensor.element_size()
        memory = torch.empty(tensor.numel() + ALIGNMENT // size, dtype=tensor.dtype)
        start = (offset - memory.data_ptr()) % ALIGNMENT // size
        return memory[start : start + tensor.numel()].view(tensor.shape).copy_(tensor)

    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = moved(tensor.data)
            assert tensor.data_ptr() % ALIGNMENT == offset
    return model
