"""The effective receptive field of one token after every layer, from gradients (Luo et al., arXiv 1701.04128).

The influence of an input token j on the token i of a layer's output is the Frobenius norm of the Jacobian of the one
with respect to the other. Inputs are the tokens that the first block gets: patches after the stem, words after the
embedding. Where nothing of j comes to i the gradient is exactly 0. These zeros are where the reach ends.

Shapes: B batch, S token axes of the input ((L,) for a text, (h, w) for an image), C channels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from metaformer_nlp.core import MetaFormerBlock
from metaformer_nlp.core.norms import MapGroupNorm
from metaformer_nlp.text import MetaFormerTextModel
from vision import MetaFormerVisionModel

MOST_TOKENS = 2**17
"""Tokens times blocks of the batch, which has a copy of the input for each direction: seconds for a small model."""

Trunk = MetaFormerVisionModel | MetaFormerTextModel


@dataclass(frozen=True)
class LayerField:
    """What one token of a layer's output has received of every input token."""

    name: str
    """"layer 3", or "stage 2, block 1" in a model of several stages."""
    place: tuple[int, ...]
    """The token, on the layer's own grid."""
    source: tuple[int, ...]
    """The same token on the input's grid."""
    influence: Tensor
    """(*S) float64, the Frobenius norms of the Jacobians."""
    reached: Tensor
    """(*S) bool: does anything come from there? False is exactly nothing."""
    exact: bool
    """Were there as many directions as channels? Otherwise the squared norms are unbiased estimates."""

    @property
    def count(self) -> int:
        """The reach: the number of input tokens from which anything comes."""
        return int(self.reached.sum())

    @property
    def own_share(self) -> float:
        """The token's own share of the sum of squared influences.

        For small, independent changes of all inputs it is the share of the token's variance that is its own.
        """
        if not self.influence.max():
            return 0.0  # nothing has reached it, not even itself
        squares = (self.influence / self.influence.max()).square()
        return float(squares[self.source] / squares.sum())


def receptive_fields(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    place: Sequence[int],
    *,
    hold_statistics: bool = False,
    most_layers: int | None = None,
    most_tokens: int = MOST_TOKENS,
) -> list[LayerField]:
    """The receptive field, after each block, of the token at ``place`` of the first block's grid.

    In a later stage, whose map is smaller, it is the token that covers this place. One forward pass in float64 serves
    all layers. Its batch has a copy of the input for each direction v, so that one backward pass a layer gives all
    products v J. The directions are random and orthonormal: with as many as channels the norm is exact, with fewer its
    square is unbiased.

    Args:
        model: one of this project's image or text models, with or without a head. It is left as it was.
        inputs: ``pixel_values`` (1, channels, H, W), or ``input_ids`` (1, L) of one text.
        place: (row, column) or (position,) of the token.
        hold_statistics: take the mean and variance of group norm for constants. They are statistics over all tokens,
            through which every token reaches every other; without them it is the mixers' own reach.
        most_layers: of more layers so many are taken, equally spaced and the last among them.
        most_tokens: how many tokens, times blocks, the batch may have; the number of directions follows from it.

    Raises:
        ValueError: another kind of model, more than one sample, or a place outside the grid.
    """
    trunk = copy.deepcopy(trunk_of(model)).double().eval().requires_grad_(False)
    if any(len(tensor) != 1 for tensor in inputs.values()):
        raise ValueError("a receptive field is that of one image or text: give a batch of one")
    grid, widest = token_grid(trunk, inputs)
    if len(place) != len(grid) or not all(0 <= at < size for at, size in zip(place, grid, strict=True)):
        raise ValueError(f"there is no token {tuple(place)} on a grid of {' x '.join(map(str, grid))} tokens")
    names = block_names(trunk)
    directions = max(1, min(widest, most_tokens // (math.prod(grid) * len(names))))
    if hold_statistics:
        for norm in trunk.modules():
            if isinstance(norm, MapGroupNorm):
                norm.register_forward_hook(_with_constant_statistics)
    tokens, outputs = _pass(trunk, inputs, directions)
    random = torch.Generator().manual_seed(0)
    fields = []
    taken = min(len(names), most_layers or len(names))
    for number in (step * len(names) // taken for step in range(1, taken + 1)):
        name, output = names[number - 1], outputs[number - 1]
        width, count = output.shape[-1], min(output.shape[-1], directions)
        sizes = zip(place, output.shape[1:-1], grid, strict=True)
        at = tuple(int((position + 0.5) * size / first) for position, size, first in sizes)
        basis = torch.linalg.qr(torch.randn(width, count, dtype=torch.float64, generator=random))[0].T  # (count, C)
        where: tuple[Any, ...] = (slice(count), *at)
        products = (output[where] * basis).sum()
        (gradient,) = torch.autograd.grad(products, tokens, retain_graph=True)  # (B, *S, C)
        fields.append(
            LayerField(
                name=name,
                place=at,
                source=tuple(place),
                influence=torch.linalg.vector_norm(gradient, dim=(0, -1)) * math.sqrt(width / count),
                reached=(gradient != 0).any(-1).any(0),  # the norm's squares could be too small for a number
                exact=count == width,
            )
        )
    return fields


def trunk_of(model: nn.Module) -> Trunk:
    """The part of a model that has the blocks.

    Raises:
        ValueError: a model without such a part.
    """
    for module in model.modules():
        if isinstance(module, Trunk):
            return module
    raise ValueError(
        f"{type(model).__name__} is no MetaFormer of this project; receptive fields are drawn of these only"
    )


def token_grid(model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[tuple[int, ...], int]:
    """The grid of the tokens that the first block gets, and the most channels that a block has."""
    trunk = trunk_of(model)
    if isinstance(trunk, MetaFormerTextModel):
        return tuple(inputs["input_ids"].shape[1:]), trunk.config.hidden_size
    height, width = inputs["pixel_values"].shape[2:]
    return trunk.config.grids((height, width))[0], max(trunk.config.hidden_sizes)


def block_names(trunk: Trunk) -> list[str]:
    """What the blocks are called, in their order."""
    if isinstance(trunk, MetaFormerTextModel):
        depths = [trunk.config.num_hidden_layers]
    else:
        depths = list(trunk.config.depths)
    if len(depths) == 1:
        return [f"layer {number}" for number in range(1, depths[0] + 1)]
    return [f"stage {stage}, block {block}" for stage, depth in enumerate(depths, 1) for block in range(1, depth + 1)]


def mixes_by_norm(model: nn.Module) -> bool:
    """Has it norms with statistics over all tokens? Then every token reaches every other, whatever the mixer.

    Batch norm is none of them: a trained model takes statistics that it has learned.
    """
    return any(isinstance(module, MapGroupNorm) for module in trunk_of(model).modules())


def _with_constant_statistics(norm: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
    """The output of a group norm, with the gradient that it has where mean and variance are constants."""
    x, own = given[0], cast(MapGroupNorm, norm)
    deviation = (x.var(tuple(range(1, x.ndim)), correction=0, keepdim=True) + own.eps).sqrt()
    return output.detach() + (x - x.detach()) * (own.weight / deviation).detach()


def _pass(trunk: Trunk, inputs: Mapping[str, Tensor], copies: int) -> tuple[Tensor, list[Tensor]]:
    """The tokens (B, *S, C) that the first block gets, as a leaf of the graph, and the outputs of all blocks."""
    blocks = [module for module in trunk.modules() if isinstance(module, MetaFormerBlock)]
    leaf: list[Tensor] = []
    outputs: list[Tensor] = []

    def start(block: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        leaf.append(given[0].detach().requires_grad_())
        return (leaf[0], *given[1:])

    def keep(block: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        outputs.append(output)

    blocks[0].register_forward_pre_hook(start)  # the trunk is a copy, which goes away with its hooks
    for block in blocks:
        block.register_forward_hook(keep)
    batch = {
        name: (tensor.double() if tensor.is_floating_point() else tensor).expand(copies, *tensor.shape[1:])
        for name, tensor in inputs.items()
    }
    with torch.enable_grad():
        cast(nn.Module, trunk)(**batch)
    return leaf[0], outputs
